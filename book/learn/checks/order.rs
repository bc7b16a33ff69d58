//! Compares the reader's prediction with runs of the book's kernel.

use crate::common::{self, Random, fail};
use crate::kernel::predict;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

#[path = "../../lane/13-threads/lane.rs"]
mod lane;

pub fn check() {
    for seed in 0..500 {
        let mut random = Random::new(seed + 5);
        let count = if seed < 2 { 4 } else { random.below(9) };
        let naps: Vec<u64> = (0..count).map(|_| if seed == 0 { 2 } else { random.below(6) as u64 }).collect();
        let source = naps.iter().zip(1..).map(|(nap, i)| format!("coroutine {i}: sleeps {nap} seconds"));
        common::begin(format!("gather {seed}"), source.collect());
        let lines = Rc::new(RefCell::new(Vec::new()));
        let (copy, theirs) = (lines.clone(), naps.clone());
        lane::virtual_clock();
        let seconds = lane::run(async move {
            let func = async |i: usize, nap: u64, lines: Rc<RefCell<Vec<String>>>| {
                lines.borrow_mut().push(format!("{i} begins"));
                lane::sleep(Duration::from_secs(nap)).await;
                lines.borrow_mut().push(format!("{i} ends"));
            };
            let items: Vec<_> = theirs.iter().enumerate().map(|(i, nap)| func(i + 1, *nap, copy.clone())).collect();
            _ = lane::gather(items).await;
            lane::now().as_secs()
        });
        let lines = lines.take();
        let (found, took) = predict(&naps);
        for (nth, line) in lines.iter().enumerate() {
            common::event(&[], format!("line {} is `{line}`", nth + 1));
            if found.get(nth) != Some(line) {
                let found = found.get(nth).map_or("nothing".into(), |line| format!("`{line}`"));
                fail("ORDER", format!("line {}: predicted {found}, printed `{line}`", nth + 1));
            }
        }
        common::expect("ORDER", "the number of predicted lines", found.len(), lines.len());
        common::event(&[], format!("it took {seconds} seconds"));
        common::expect("ORDER", "the predicted seconds", took, seconds);
    }
}
