//! Checks the certificate of a report without the search.
//!
//! A report claims that its schedule fails, that the closest one passes, and that every cheaper one
//! passes. This file reads the claims from the report's text, and runs schedules by `replay` alone. How
//! many things there are to choose from at a choice, it learns from a schedule that does not fit:
//!
//! ```text
//!   replay "3=1/65535"    diverged at choice 3: recorded 65535 to choose from, now 2 (..)
//!                         diverged at choice 3: .. now the run ends after 2 choice(s)
//! ```

use crate::brute_force::{self, Random};
use crate::{cache, lost_update, permit, philosophers, reply};
use onelane::explore::{Explore, Fault};
use onelane::{explore, gather, sleep};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// What a report claims.
struct Claims {
    cost: u64,
    /// Number of cheaper schedules, which all pass.
    cheaper: u64,
    schedule: String,
    passes: String,
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    let rest = text.split_once(begin)?.1;
    Some(rest.split_once(end)?.0)
}

fn claims(report: &str) -> Claims {
    let read = |begin, end| between(report, begin, end).unwrap_or_else(|| panic!("no {begin:?} in\n{report}"));
    let number = |words: &str| words.replace(',', "").parse().unwrap_or_else(|_| panic!("{words:?} in\n{report}"));
    Claims {
        cost: number(read("\ncost ", ", the smallest\ncertificate: no cheaper order fails; ")),
        cheaper: number(read("number of cheaper orders: ", ", each was run\n")),
        schedule: read("ONELANE_SCHEDULE='", "'").into(),
        passes: read("the closest order that passes: \"", "\"").into(),
    }
}

/// The text of a replay that fails.
fn replay(explored: &dyn Fn() -> Explore<'static>, schedule: &str) -> Result<(), (Fault, String)> {
    explored().replay(schedule).check().map(drop).map_err(|failure| (failure.fault.clone(), failure.to_string()))
}

/// The number of things to choose from at a choice, if the run has it.
fn among(explored: &dyn Fn() -> Explore<'static>, prefix: &str, at: u64) -> Option<u64> {
    let probe = with(prefix, at, 1, u64::from(u16::MAX));
    let (_, text) = replay(explored, &probe).expect_err("no program has so many tasks");
    assert!(text.contains(&format!("diverged at choice {at}: recorded 65535 to choose from, now ")), "{text}");
    let now = text.split_once("to choose from, now ")?.1;
    let digits: String = now.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok() // "the run ends" has no number
}

fn with(prefix: &str, at: u64, index: u64, among: u64) -> String {
    let comma = if prefix.is_empty() { "" } else { "," };
    format!("{prefix}{comma}{at}={index}/{among}")
}

/// Runs the schedule and each that deviates later, if it costs less than the limit. Returns how many
/// there are.
fn all_pass(explored: &dyn Fn() -> Explore<'static>, schedule: &str, last: u64, cost: u64, limit: u64) -> u64 {
    if let Err((_, text)) = replay(explored, schedule) {
        panic!("{schedule:?} of cost {cost} fails:\n{text}");
    }
    let mut count = 1;
    // The deepest schedules have no children: there is nothing to ask.
    for at in (last + 1..).take_while(|_| cost + 1 < limit) {
        let Some(among) = among(explored, schedule, at) else { break };
        for index in (1..among).take_while(|index| cost + index < limit) {
            count += all_pass(explored, &with(schedule, at, index, among), at, cost + index, limit);
        }
    }
    count
}

/// The cost of a schedule, from its text.
fn cost(schedule: &str) -> u64 {
    let index = |part| between(part, "=", "/").unwrap().parse::<u64>().unwrap();
    schedule.split(',').filter(|part| !part.is_empty()).map(index).sum()
}

/// Returns the number of schedules that were run.
fn check(explored: &dyn Fn() -> Explore<'static>) -> u64 {
    let found = explored().check().expect_err("an order fails");
    let claims = claims(&found.to_string());
    assert_eq!(cost(&claims.schedule), claims.cost, "{found}");
    let (fault, _) = replay(explored, &claims.schedule).expect_err("the schedule of the report fails");
    assert_eq!(fault, found.fault);
    assert!(cost(&claims.passes) < claims.cost, "{found}");
    let deviations = |schedule: &str| schedule.split(',').filter(|part| !part.is_empty()).count();
    assert_eq!(deviations(&claims.passes) + 1, deviations(&claims.schedule), "{found}");
    assert!(replay(explored, &claims.passes).is_ok(), "{found}");
    let cheaper = all_pass(explored, "", 0, 0, claims.cost);
    assert_eq!(cheaper, claims.cheaper, "{found}");
    cheaper
}

#[test]
fn certificates_of_the_examples() {
    for explored in [lost_update::broken, cache::broken, philosophers::broken, permit::broken, reply::broken] {
        check(&explored);
    }
}

/// All kinds of choices, and a failure that costs 4.
#[test]
fn certificate_over_all_kinds_of_choices() {
    let explored = || {
        explore(|| async {
            let order = Rc::new(Cell::new(0));
            let sleeps = [1, 1, 2].map(|seconds| {
                let order = order.clone();
                async move {
                    sleep(Duration::from_secs(seconds)).await;
                    order.set(order.get() * 10 + seconds * explore::choose(3) as u64);
                }
            });
            _ = gather(sleeps).await;
            assert!(order.get() < 204, "{}", order.get());
        })
        .late_timers()
        .cancellations(1)
    };
    let cheaper = check(&explored);
    assert!(cheaper > 50, "{cheaper}");
}

/// A cheaper failure that the report denies would be found.
#[test]
#[should_panic(expected = "of cost 1 fails")]
fn a_false_certificate_is_noticed() {
    all_pass(&lost_update::broken, "", 0, 0, 2);
}

#[test]
fn certificates_of_random_programs() {
    let (mut checked, mut cheaper) = (0, 0);
    for seed in 0..600 {
        let mut random = Random(seed);
        let program = brute_force::program(&mut random);
        let explored = || {
            let program = program.clone();
            explore(move || {
                let program = program.clone();
                async move {
                    let [one, other] = brute_force::outcome(program).await;
                    if one + other == 3 { Err("three") } else { Ok(()) }
                }
            })
        };
        if explored().check().is_err_and(|failure| failure.cost > 0) {
            cheaper += check(&explored);
            checked += 1;
        }
    }
    assert!(checked > 20 && cheaper > 2 * checked, "{checked}, {cheaper}");
}
