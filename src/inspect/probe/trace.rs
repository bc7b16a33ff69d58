//! The trace-event format of Chrome, which Perfetto reads: a list of objects in JSON, each with a
//! phase, a track and a time.
//!
//! ```text
//! {"ph":"B","pid":1000000000,"tid":3,"ts":1500.0021,"cat":"run","name":"run"}
//! ```
//!
//! Times strictly increase: a slice without length gets one nanosecond. This file knows no events
//! of a loop. Next: `recorder.rs`.
//!
//! Some versions of Perfetto confuse track 0, which is the loop's, with the track that has the
//! number of the process. So the process has a number that no task has. Some versions compute
//! nanoseconds from microseconds and truncate them: 1500.002 may become 1500001. So a tenth of a
//! nanosecond is added.

use std::fmt::{self, Display, Write as _};
use std::io;
use std::time::Duration;

/// Number of bytes that are collected before they are written.
const ENOUGH: usize = 1 << 16;

/// The number of the process. No task gets this number.
const PROCESS: u64 = 1_000_000_000;

/// A nanosecond of the trace.
pub(crate) type Stamp = u64;

pub(crate) struct Trace {
    /// `None` after `finish`, after an error, and while it is being used: it is user code.
    out: Option<Box<dyn io::Write>>,
    error: Option<io::Error>,
    buffer: String,
    /// The current time of the clock.
    time: Stamp,
    /// The last time that was used.
    stamp: Stamp,
}

impl Trace {
    pub(crate) fn new(out: Box<dyn io::Write>) -> Self {
        let buffer = String::from(r#"{"displayTimeUnit":"ns","traceEvents":["#);
        let mut trace = Trace { out: Some(out), error: None, buffer, time: 0, stamp: 0 };
        let name = r#""tid":0,"name":"process_name","args":{"name":"onelane"}"#;
        // Writing into a string does not fail.
        let _ = write!(trace.buffer, r#"{{"ph":"M","pid":{PROCESS},{name}}}"#);
        trace
    }

    pub(crate) fn is_open(&self) -> bool {
        self.out.is_some()
    }

    pub(crate) fn clock_shows(&mut self, time: Duration) {
        self.time = Stamp::try_from(time.as_nanos()).unwrap_or(Stamp::MAX / 2);
    }

    /// Returns the time, or a nanosecond after the last one.
    pub(crate) fn stamp(&mut self) -> Stamp {
        self.stamp = self.time.max(self.stamp + 1);
        self.stamp
    }

    /// Begins a line, which `Line::end` ends.
    pub(crate) fn line(&mut self, phase: char, track: u64, stamp: Stamp) -> Line<'_> {
        let (micros, nanos) = (stamp / 1000, stamp % 1000);
        let line = Line(self);
        let line = line.put(format_args!(",\n{{\"ph\":\"{phase}\",\"pid\":{PROCESS},\"tid\":{track}"));
        line.put(format_args!(",\"ts\":{micros}.{nanos:03}1"))
    }

    fn write(&mut self) {
        // If the writer panics, it is dropped.
        let Some(mut out) = self.out.take() else { return self.buffer.clear() };
        let written = out.write_all(self.buffer.as_bytes());
        self.buffer.clear();
        match written {
            Ok(()) => self.out = Some(out),
            Err(error) => self.error = Some(error),
        }
    }

    /// Ends writing. Returns the first error, once.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.is_open() {
            self.buffer.push_str("\n]}\n");
            self.write();
        }
        let flushed = self.out.take().map_or(Ok(()), |mut out| out.flush());
        self.error.take().map_or(flushed, Err)
    }
}

/// A line that is being written.
#[must_use = "a line has an end"]
pub(crate) struct Line<'a>(&'a mut Trace);

impl Line<'_> {
    fn put(self, what: fmt::Arguments<'_>) -> Self {
        // Writing into a string does not fail.
        let _ = self.0.buffer.write_fmt(what);
        self
    }

    pub(crate) fn number(self, key: &str, value: u64) -> Self {
        self.put(format_args!(",\"{key}\":{value}"))
    }

    pub(crate) fn text(self, key: &str, value: &dyn Display) -> Self {
        let line = self.put(format_args!(",\"{key}\":\""));
        let _ = write!(Escaping(&mut line.0.buffer), "{value}");
        line.put(format_args!("\""))
    }

    pub(crate) fn args(self, args: &[(&str, &dyn Display)]) -> Self {
        self.object(args, |line, (key, value)| line.text(key, *value))
    }

    pub(crate) fn numbers(self, args: &[(&str, u64)]) -> Self {
        self.object(args, |line, (key, value)| line.number(key, *value))
    }

    fn object<T>(self, args: &[T], one: impl Fn(Self, &T) -> Self) -> Self {
        if args.is_empty() {
            return self;
        }
        let line = self.put(format_args!(",\"args\":{{"));
        let first = line.0.buffer.len();
        let line = args.iter().fold(line, one);
        // The comma before all except the first.
        line.0.buffer.remove(first);
        line.put(format_args!("}}"))
    }

    pub(crate) fn end(self) {
        let line = self.put(format_args!("}}"));
        if line.0.buffer.len() >= ENOUGH {
            line.0.write();
        }
    }
}

/// Text that may stand between the quotes of a JSON string, even in a page.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '<' | '\0'..=' ' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' if letter != ' ' => {
                    write!(self.0, "\\u{:04x}", u32::from(letter))?;
                }
                _ => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn escape_what_would_end_a_string_or_a_script() {
        let mut text = String::new();
        write!(Escaping(&mut text), "a \"b\" \\ </script> \n\t\0\u{7f}\u{2028} é𝕏").unwrap();
        assert_eq!(text, r#"a \"b\" \\ \u003c/script> \n\u0009\u0000\u007f\u2028 é𝕏"#);
    }
}
