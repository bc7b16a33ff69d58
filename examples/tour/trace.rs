//! The loop that runs the tour's programs. With `--trace FOLDER` it writes a trace for
//! <https://ui.perfetto.dev>, which needs the feature `probe`. With `--html FILE` one loop runs all
//! programs, and writes a page that replays them, which needs the feature `replay`.

use std::path::PathBuf;

#[cfg(feature = "probe")]
static FOLDER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

/// Reads the arguments.
pub(crate) fn read_arguments() -> Result<(), String> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(()),
        (Some(option), Some(folder), None) if option == "--trace" => trace_into(folder.into()),
        (Some(option), Some(file), None) if option == "--html" => replay_to(file.into()),
        _ => Err("usage: tour [--trace FOLDER | --html FILE]".into()),
    }
}

#[cfg(feature = "replay")]
thread_local! {
    static RECORDED: std::cell::RefCell<Option<onelane::EventLoop>> = const { std::cell::RefCell::new(None) };
}

#[cfg(not(feature = "replay"))]
fn replay_to(_file: PathBuf) -> Result<(), String> {
    Err("--html takes the feature replay: cargo run --features replay --example tour -- --html FILE".into())
}

#[cfg(feature = "replay")]
fn replay_to(file: PathBuf) -> Result<(), String> {
    // Now, and not after ten seconds.
    std::fs::write(&file, "").map_err(|error| format!("{}: {error}", file.display()))?;
    RECORDED.set(Some(onelane::EventLoop::builder().replay(&file).build()));
    Ok(())
}

/// Writes the page.
pub(crate) fn finish() {
    #[cfg(feature = "replay")]
    if let Some(event_loop) = RECORDED.take() {
        drop(event_loop);
        println!("The replay of all five programs is written. Open it in a browser.");
    }
}

#[cfg(not(feature = "probe"))]
fn trace_into(_folder: PathBuf) -> Result<(), String> {
    Err("--trace takes the feature probe: cargo run --features probe --example tour -- --trace FOLDER".into())
}

#[cfg(feature = "probe")]
fn trace_into(folder: PathBuf) -> Result<(), String> {
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    FOLDER.set(folder).map_err(|_| "the arguments are read once".into())
}

/// Runs one program of the tour.
#[cfg(not(feature = "probe"))]
pub(crate) fn run<F: IntoFuture>(_program: &str, main: F) -> F::Output {
    onelane::run(main)
}

/// Runs one program of the tour, and writes its trace, if requested.
#[cfg(feature = "probe")]
pub(crate) fn run<F: IntoFuture>(program: &str, main: F) -> F::Output {
    use onelane::probe::Recorder;
    use std::{fs::File, io::BufWriter, rc::Rc};

    #[cfg(feature = "replay")]
    if let Some(event_loop) = RECORDED.take() {
        let output = event_loop.run(main);
        RECORDED.set(Some(event_loop));
        return output;
    }
    let Some(folder) = FOLDER.get() else { return onelane::run(main) };
    let path = folder.join(format!("{program}.json"));
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let recorder = Rc::new(Recorder::new(BufWriter::new(file)));
    let event_loop = onelane::EventLoop::builder().probe(recorder.clone()).build();
    let output = event_loop.run(main);
    let did = event_loop.metrics();
    recorder.finish().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    println!(
        "Trace: {} (turns {}, steps {}, callbacks {}, parks {}, spawned {}, merged {}, late {}, fired {}, cancelled {})",
        path.display(),
        did.turns,
        did.steps,
        did.callbacks,
        did.parks,
        did.spawned,
        did.wakes_merged,
        did.wakes_late,
        did.timers_fired,
        did.timers_cancelled,
    );
    output
}
