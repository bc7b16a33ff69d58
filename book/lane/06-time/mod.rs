//! Stage `06-time`.

pub mod lane;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../02-future/tests.rs"]
mod tests_02_future;
#[cfg(test)]
#[path = "../03-poll/tests.rs"]
mod tests_03_poll;
#[cfg(test)]
#[path = "../04-arc/tests.rs"]
mod tests_04_arc;
#[cfg(test)]
#[path = "../04-number/tests.rs"]
mod tests_04_number;
#[cfg(test)]
#[path = "../05-turn/tests.rs"]
mod tests_05_turn;
