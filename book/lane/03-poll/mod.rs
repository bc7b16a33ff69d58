//! Stage `03-poll`.

pub mod lane;
#[cfg(test)]
mod only;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../02-future/tests.rs"]
mod tests_02_future;
