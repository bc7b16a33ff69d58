//! The feature `replay`: recordings, and the pages that are made of them. The browser's part is tested
//! by `.ci/browser`; the states of conformance programs by `tests/conformance/`.
#![cfg(feature = "replay")]

mod common;
#[path = "common/states.rs"]
mod states;

use common::{alone_with, ms};
use onelane::probe::Counters;
use onelane::replay::Recording;
use onelane::{Clock, EventLoop, call_later, call_soon, sleep, spawn, task, yield_now};
use serde_json::Value;
use std::path::PathBuf;
use std::rc::Rc;

/// A loop on a virtual clock, and its recording.
fn recorded(recording: Recording) -> (EventLoop, Rc<Recording>) {
    let recording = Rc::new(recording);
    (EventLoop::builder().clock(Clock::Virtual).probe(recording.clone()).build(), recording)
}

fn data_of(page: &str) -> Value {
    let (_, data) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Spawns, sleeps, callbacks of all kinds, a cancellation, one that is taken back, a task that yields.
async fn varied() {
    let sleeper = task::Builder::new().name("sleeper").spawn(sleep(ms(30)));
    let cancelled = spawn(sleep(ms(1000)));
    call_soon(|| ()).cancel();
    call_soon(|| ());
    call_later(ms(5), || ());
    call_later(ms(500), || ()).cancel();
    yield_now().await;
    sleep(ms(10)).await;
    sleeper.cancel();
    sleeper.cancel();
    assert_eq!((sleeper.uncancel(), sleeper.uncancel()), (1, 0));
    cancelled.cancel();
    sleeper.await.unwrap();
    assert!(cancelled.await.is_err());
}

/// Each state that the page will compute has the hash of the state in Rust.
#[test]
fn compute_the_same_states_in_javascript() {
    let (mut recordings, mut events) = (String::new(), 0);
    for limit in [usize::MAX, 40, 7, 1] {
        let (event_loop, recording) = recorded(Recording::new().limit(limit));
        event_loop.run(varied());
        drop(event_loop);
        events += recording.len();
        recordings += &recording.to_checked_json();
        recordings.push('\n');
    }
    match states::compare_states("varied.jsonl", &recordings) {
        Some(states) => assert!(states == events && events > 100, "{states} states of {events} events"),
        None => println!("skipped: node is not installed"),
    }
}

#[test]
fn keep_the_last_events_and_the_state_before_them() {
    let (event_loop, recording) = recorded(Recording::new().limit(10));
    event_loop.run(varied());
    assert_eq!(recording.len(), 10);
    let lost = recording.lost();
    let data: Value = serde_json::from_str(&recording.to_json()).unwrap();
    assert_eq!(
        (data["worlds"][0]["events"].as_array().unwrap().len(), data["worlds"][0]["lost"].as_u64()),
        (10, Some(lost))
    );
    // The main task was spawned long ago.
    let tasks = data["worlds"][0]["base"]["tasks"].as_array().unwrap();
    assert!(tasks.iter().any(|task| task[0] == 1), "{tasks:?}");
}

/// A name may be anything. In the page it is text, and no part of the page.
#[test]
fn write_hostile_names_as_text() {
    let names = ["</script><img src=x onerror=alert(1)>", "<!--<script>", "a\u{202e}b\n\"\\", "", "名前"];
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(async {
        for name in names {
            task::Builder::new().name(name).spawn(async {}).await.unwrap();
        }
    });
    let page = recording.to_html();
    assert!(!page.contains("<img") && !page.contains("<!--<script>") && !page.contains('\u{202e}'));
    assert_eq!(page.matches("</script>").count(), 2);
    let data = data_of(&page);
    let texts: Vec<_> = data["texts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.iter().all(|name| texts.contains(name)), "{texts:?}");
}

/// The page needs nothing from elsewhere, and forbids itself to load anything.
#[test]
fn page_is_whole_and_small() {
    let page = Recording::new().to_html();
    assert!(page.contains("default-src 'none'"));
    let addresses = page.split("http").skip(1).filter(|rest| !rest.starts_with("-equiv"));
    let mut foreign = addresses.filter(|rest| !rest.starts_with("://www.w3.org/2000/svg"));
    assert_eq!(foreign.next(), None);
    assert!(page.len() < 150_000, "{} bytes", page.len());
}

/// By its title, or as the program without the hash that Cargo adds.
#[test]
fn name_the_page() {
    assert_eq!(data_of(&Recording::new().to_html())["title"], "replay");
    assert_eq!(data_of(&Recording::new().title("two </b>").to_html())["title"], "two </b>");
}

/// The lines of this file, because the events name it.
#[test]
fn contain_the_source() {
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(varied());
    let data = data_of(&recording.to_html());
    let file = data["files"].as_array().unwrap().iter().find(|file| file["name"] == file!()).unwrap();
    assert!(file["text"].as_str().unwrap().contains("The lines of this file"));
}

#[test]
fn write_the_page_with_the_loop_and_leave_the_probe() {
    let path = temporary("with_the_loop.html");
    let counters = Rc::new(Counters::new());
    let event_loop = EventLoop::builder().probe(counters.clone()).replay(&path).build();
    event_loop.run(async {});
    drop(event_loop);
    let data = data_of(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(counters.counts().spawns, 1);
    assert!(data["worlds"][0]["events"].as_array().unwrap().len() > 4);
    // A folder that does not exist: the program goes on.
    let event_loop = EventLoop::builder().replay(path.join("nowhere/run.html")).build();
    event_loop.run(async {});
}

#[test]
fn write_a_page_for_each_loop_if_the_variable_asks() {
    let path = temporary("asked.html");
    let second = temporary("asked-2.html");
    alone_with(
        "write_a_page_for_each_loop_if_the_variable_asks",
        &[("ONELANE_REPLAY", path.to_str().unwrap())],
        || {
            for _ in 0..2 {
                EventLoop::new().run(async {});
            }
            for path in [&path, &second] {
                let page = std::fs::read_to_string(path).unwrap();
                assert!(data_of(&page)["worlds"][0]["events"].as_array().unwrap().len() > 4);
                std::fs::remove_file(path).unwrap();
            }
        },
    );
}

/// The page of another process is kept under another name.
#[test]
fn keep_the_page_of_another_process() {
    let [path, older] = ["kept.html", "kept-old-1.html"].map(temporary);
    alone_with("keep_the_page_of_another_process", &[("ONELANE_REPLAY", path.to_str().unwrap())], || {
        std::fs::write(&path, "of another process").unwrap();
        _ = std::fs::remove_file(&older);
        EventLoop::new().run(async {});
        assert_eq!(std::fs::read_to_string(&older).unwrap(), "of another process");
        assert!(std::fs::read_to_string(&path).unwrap().contains("</html>"));
    });
}

/// The program may change its folder: the page is where the loop was built.
#[test]
fn write_the_page_into_the_folder_of_the_build() {
    alone_with("write_the_page_into_the_folder_of_the_build", &[], || {
        let folder = temporary("folder_of_the_build");
        std::fs::create_dir_all(&folder).unwrap();
        std::env::set_current_dir(&folder).unwrap();
        let event_loop = EventLoop::builder().replay("run.html").build();
        std::env::set_current_dir(std::env::temp_dir()).unwrap();
        event_loop.run(async {});
        drop(event_loop);
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["run.html"]);
    });
}

/// A probe of the program that panics is removed; the recording goes on.
#[test]
fn record_on_beside_a_probe_that_panics() {
    use onelane::probe::{Event, Probe};
    struct Bomb;
    impl Probe for Bomb {
        fn event(&self, _: &Event<'_>) {
            panic!("in the probe");
        }
    }
    let path = temporary("beside_a_bomb.html");
    let panics = Rc::new(std::cell::Cell::new(0));
    let counted = panics.clone();
    let event_loop = EventLoop::builder()
        .probe(Bomb)
        .exception_handler(move |_| counted.set(counted.get() + 1))
        .replay(&path)
        .build();
    event_loop.run(async {});
    drop(event_loop);
    assert_eq!(panics.get(), 1);
    let data = data_of(&std::fs::read_to_string(&path).unwrap());
    assert!(data["worlds"][0]["events"].as_array().unwrap().len() > 4);
}

/// A recording is for one loop.
#[test]
fn ignore_a_second_loop() {
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(varied());
    drop(event_loop);
    let events = recording.len();
    let data = |recording: &Recording| -> Value { serde_json::from_str(&recording.to_json()).unwrap() };
    assert_eq!(data(&recording)["worlds"][0]["ignored"], false);
    EventLoop::builder().clock(Clock::Virtual).probe(recording.clone()).build().run(varied());
    assert_eq!(recording.len(), events);
    assert_eq!(data(&recording)["worlds"][0]["ignored"], true);
}

#[test]
fn leave_the_sources_out() {
    let (event_loop, recording) = recorded(Recording::new().without_sources());
    event_loop.run(varied());
    let data = data_of(&recording.to_html());
    assert!(data["files"].as_array().unwrap().iter().all(|file| file["text"].is_null()));
}

/// A failing program is recorded up to its failure.
#[test]
fn record_a_deadlock() {
    let (event_loop, recording) = recorded(Recording::new());
    assert!(event_loop.try_run(std::future::pending::<()>()).is_err());
    let data: Value = serde_json::from_str(&recording.to_json()).unwrap();
    const FAIL: u64 = 19;
    assert!(data["worlds"][0]["events"].as_array().unwrap().iter().any(|event| event[0] == FAIL && event[2] == 2));
}

/// The pages for the tests in a browser (`tests/replay/browser.js`), in the folder that `ONELANE_PAGES`
/// names. The page of the long run says what was lost.
#[test]
fn write_pages_for_a_browser() {
    let folder = std::env::var_os("ONELANE_PAGES").map_or_else(|| temporary("pages"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, recording: &Recording| {
        std::fs::write(folder.join(name), recording.to_checked_html()).unwrap();
    };
    write("empty.html", &Recording::new());
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(async {
        task::Builder::new().name("</script><b>bold</b>\u{202e}").spawn(sleep(ms(1))).await.unwrap();
        varied().await;
    });
    drop(event_loop);
    write("varied.html", &recording);
    let (event_loop, recording) = recorded(Recording::new());
    let failed = event_loop.try_run(async {
        let named = |name: &str| task::Builder::new().name(name).spawn(std::future::pending::<()>());
        onelane::gather([named("one"), named("two")]).await.unwrap();
    });
    assert!(failed.is_err());
    drop(event_loop);
    write("failed.html", &recording);
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(async {
        for name in ["a\u{200b}b\u{feff}", "שלום", &"long ".repeat(4_000)] {
            task::Builder::new().name(name).spawn(async {}).await.unwrap();
        }
        futures_util::future::join_all((0..5_000).map(|nth| sleep(ms(nth % 7 + 1)))).await;
    });
    drop(event_loop);
    std::fs::write(folder.join("crowd.html"), recording.to_html()).unwrap();
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(async {
        let tasks: Vec<_> = (0..3_000).map(|nth| spawn(sleep(ms(nth % 700)))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        for _ in 0..60_000 {
            yield_now().await;
        }
    });
    drop(event_loop);
    assert!(recording.lost() > 0);
    std::fs::write(folder.join("long.html"), recording.to_html()).unwrap();
    // Very many tasks and timers at once.
    let (event_loop, recording) = recorded(Recording::new());
    event_loop.run(async {
        let tasks: Vec<_> = (0..25_000).map(|nth| spawn(sleep(ms(nth % 7_000)))).collect();
        onelane::wait(tasks).await;
    });
    drop(event_loop);
    std::fs::write(folder.join("sleepers.html"), recording.to_html()).unwrap();
}

/// A failing exploration writes a page with the failing order, the orders from which it deviates, and
/// others. Their states are computed by the page as by Rust, with chosen entries ahead of others.
#[cfg(feature = "explore")]
#[test]
fn write_the_orders_of_an_exploration() {
    use onelane::gather;
    use std::cell::Cell;
    let program = || async {
        let count = Rc::new(Cell::new(0));
        let add = |name: &str| {
            let count = count.clone();
            task::Builder::new().name(name).spawn(async move {
                let before = count.get();
                yield_now().await;
                count.set(before + 1);
            })
        };
        let (one, two) = (add("one"), add("two"));
        one.await.unwrap();
        two.await.unwrap();
        gather([sleep(ms(1)), sleep(ms(1))]).await.unwrap();
        assert_eq!(count.get(), 2, "an update is lost");
    };
    let folder = std::env::var_os("ONELANE_PAGES").map_or_else(|| temporary("pages"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("orders.html");
    let failure = onelane::explore(program).page(&path).check().unwrap_err();
    let data = data_of(&std::fs::read_to_string(&path).unwrap());
    let worlds = data["worlds"].as_array().unwrap();
    let first = &worlds[data["first"].as_u64().unwrap() as usize];
    assert_eq!(first["schedule"], *failure.schedule);
    assert_eq!(data["title"], "replay · write_the_orders_of_an_exploration");
    assert!(first["fault"].as_str().unwrap().contains("an update is lost"));
    let schedules: Vec<_> = worlds.iter().map(|world| world["schedule"].as_str().unwrap()).collect();
    assert!(schedules.contains(&""), "{schedules:?}");
    assert!(worlds.len() > 3 && worlds.iter().any(|world| world["fault"].is_null()), "{schedules:?}");
}
