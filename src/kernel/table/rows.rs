//! Creates rows, and frees them when the loop leaves its lane.

use super::{Row, Rows, TaskTable};
use crate::kernel::idle::lanes::{self, Lane};
use crate::kernel::table::lists::Lists;
use crate::kernel::token::Token;
use std::num::NonZeroU64;

impl Rows {
    #[cold]
    pub(super) fn add_row(&mut self, lane: &Lane) -> u32 {
        let slot = self.rows.len();
        let token = Token::new(lane.number, lane.generation, slot as u32);
        self.rows.push(Row { token, task: None });
        slot as u32
    }

    #[inline]
    pub(super) fn number(&mut self) -> NonZeroU64 {
        self.numbered += 1;
        NonZeroU64::new(self.numbered).expect("numbers do not come to their end")
    }
}

impl Drop for TaskTable {
    fn drop(&mut self) {
        // A loop that could not end its tasks leaks them (`Kernel::close`), so their tokens count
        // as used. The inbox is already closed, unless the loop was dropped without its owner: the
        // next loop must not get an open inbox.
        drop(self.lane.inbox.close());
        let table = self.rows.get_mut();
        let mut unused = self.lane.generation;
        while let Some(row) = table.rows.pop() {
            unused = unused.max(row.token.generation() + u32::from(row.task.is_some()));
        }
        if table.tenants > 0 {
            // Their waiters are leaked too.
            std::mem::forget(std::mem::replace(&mut table.waiters, Lists::new()));
        }
        lanes::leave(&self.lane, unused);
    }
}
