//! Stage `04-arc`.

pub mod lane;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../02-future/tests.rs"]
mod tests_02_future;
#[cfg(test)]
#[path = "../03-poll/tests.rs"]
mod tests_03_poll;
