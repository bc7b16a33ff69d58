//! Stage `02-future`.

pub mod greet;
pub mod lane;
#[cfg(test)]
mod only;
#[cfg(test)]
mod tests;
