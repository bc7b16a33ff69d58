//! A game that gives the loop two milliseconds of each frame.
//!
//! The host is a loop of sixty frames a second that draws nothing. In each frame it calls
//! `turn_within` with a budget of two milliseconds. What is not finished then continues in the next
//! frame, in the same order. Some tasks load, and one animates. After half a second, one more task
//! begins to compute. It yields again and again and is always ready, so it gets the rest of each
//! budget, and the game continues. A step that has begun is finished, so steps should be short.
//!
//! `cargo run --release --example game_loop` takes a second.

use onelane::{Budget, EventLoop, interval, sleep, yield_now};
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

const FRAME: Duration = Duration::from_nanos(16_666_667);
const SHARE: Duration = Duration::from_millis(2);
const FRAMES: u32 = 60;
/// Number of frames per line of output.
const A_LINE: u32 = 10;

/// What the tasks pass to the picture. All run on one thread, so cells are enough.
#[derive(Default)]
struct World {
    loaded: Cell<u32>,
    pose: Cell<u32>,
    thoughts: Cell<u64>,
}

/// Waits for a simulated disk, then unpacks in small pieces, with a yield after each.
async fn load(world: Rc<World>, delay: Duration) {
    sleep(delay).await;
    for _ in 0..50 {
        black_box((0..10_000u32).fold(0, |sum: u32, number| sum.wrapping_add(black_box(number))));
        yield_now().await;
    }
    world.loaded.set(world.loaded.get() + 1);
}

/// A new pose twenty times a second.
async fn animate(world: Rc<World>) {
    let mut ticks = interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        world.pose.set(world.pose.get() + 1);
    }
}

/// Never waits: without a budget it would block the frame for ever.
async fn think(world: Rc<World>) {
    loop {
        world.thoughts.set(world.thoughts.get() + 1);
        yield_now().await;
    }
}

fn main() {
    let event_loop = EventLoop::new();
    let world = Rc::new(World::default());
    for asset in 1..=8 {
        drop(event_loop.spawn(load(world.clone(), Duration::from_millis(60) * asset)));
    }
    drop(event_loop.spawn(animate(world.clone())));

    println!("frames  steps    longest share  loaded  poses  thoughts");
    let mut next_frame = Instant::now();
    let (mut steps, mut longest) = (0, Duration::ZERO);
    for frame in 1..=FRAMES {
        if frame == FRAMES / 2 + 1 {
            drop(event_loop.spawn(think(world.clone())));
        }
        // A game handles input and physics here. Then the loop gets its share.
        let begun = Instant::now();
        let turn = event_loop.turn_within(Budget::time(SHARE));
        longest = longest.max(begun.elapsed());
        steps += turn.steps;
        // Draws a picture; then the rest of the frame passes.
        if frame % A_LINE == 0 {
            let World { loaded, pose, thoughts } = &*world;
            let (loaded, pose, thoughts) = (loaded.get(), pose.get(), thoughts.get());
            println!("{frame:6}  {steps:<7}  {longest:<13.3?}  {loaded:6}  {pose:5}  {thoughts}");
            (steps, longest) = (0, Duration::ZERO);
        }
        next_frame += FRAME;
        thread::sleep(next_frame.saturating_duration_since(Instant::now()));
    }
    println!("The game is over; {} tasks end with their loop.", event_loop.all_tasks().len());
}
