//! Stage `09-cancel`.

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
#[cfg(test)]
#[path = "../06-time/tests.rs"]
mod tests_06_time;
#[cfg(test)]
#[path = "../07-cell/tests.rs"]
mod tests_07_cell;
#[cfg(test)]
#[path = "../08-await/tests.rs"]
mod tests_08_await;
