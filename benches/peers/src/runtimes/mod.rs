//! The runtimes, each in its own file. Each implements the traits of `onelane-cases`.
//!
//! A runtime has the works for its abilities. In the table, a dash marks a case that a runtime
//! lacks. The runtime's note gives the reason.

mod assert_send;
mod async_local_executor;
mod compio;
mod embassy;
mod futures;
#[cfg(target_os = "linux")]
mod glommio;
#[cfg(target_os = "linux")]
mod kimojio;
mod local_runtime;
mod monoio;
mod nio;
mod shared;
mod smol;
mod tokio;

use onelane_cases::{Floor, Onelane, Work, Works};

/// A runtime in this process.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name on the command line and in the figures.
    pub id: &'static str,
    /// The crate whose version is shown, or `None` for the standard library.
    package: Option<&'static str>,
    /// Which part of it is measured, with which primitives, and what it does that others do not.
    pub note: &'static str,
    /// Its works.
    pub works: Works,
}

impl Peer {
    fn of(id: &'static str, package: &'static str, note: &'static str, works: Works) -> Self {
        Peer { id, package: Some(package), note, works }
    }

    /// Its version according to our lock file; empty for the standard library.
    pub fn version(&self) -> String {
        let Some(package) = self.package else { return String::new() };
        let lock = include_str!("../../Cargo.lock");
        let after = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).map(|(_, after)| after);
        after.and_then(|after| after.split('"').next()).unwrap_or("of an unknown version").into()
    }
}

/// Returns the runtimes that this machine can run in this process, and the reasons why it cannot
/// run others.
pub fn all() -> (Vec<Peer>, Vec<(&'static str, String)>) {
    let mut peers = everywhere();
    let mut absent = Vec::new();
    #[cfg(target_os = "linux")]
    for (tried, peer) in [(glommio::try_it(), glommio::peer()), (kimojio::try_it(), kimojio::peer())] {
        match tried {
            Ok(()) => peers.push(peer),
            Err(why) => absent.push((peer.id, why)),
        }
    }
    #[cfg(not(target_os = "linux"))]
    absent.extend(["glommio", "kimojio"].map(|id| (id, "it runs on Linux alone".into())));
    (peers, absent)
}

/// Returns the work of a runtime that this machine can run, without starting a runtime.
pub fn work(runtime: &str, case: &str) -> Option<Work> {
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut))]
    let mut peers = everywhere();
    #[cfg(target_os = "linux")]
    peers.extend([glommio::peer(), kimojio::peer()]);
    let works = peers.into_iter().find(|peer| peer.id == runtime)?.works;
    works.into_iter().find(|(id, _)| *id == case).map(|(_, work)| work)
}

/// Returns the runtimes that every machine can run.
fn everywhere() -> Vec<Peer> {
    let mut peers = vec![
        Peer {
            id: "floor",
            package: None,
            note: "No runtime: a bare loop that polls boxed futures in turn, with a waker that does nothing. It has only the \
                   cases in which a runtime, too, would poll every future in every round: yields and spawns. A spawn here \
                   allocates a future, polls it and frees it.",
            works: Floor::works(),
        },
        Peer::of(
            "onelane",
            "onelane",
            "`run`, `spawn`, `gather`, and `sync`'s `oneshot` and `channel`. It catches panics, keeps a record of what each task \
             waits for, and has no I/O driver.",
            Onelane::works(),
        ),
    ];
    peers.extend(tokio::peers());
    peers.extend([
        smol::peer(),
        futures::peer(),
        futures::unordered(),
        monoio::peer(),
        compio::peer(),
        embassy::peer(),
        nio::peer(),
        local_runtime::peer(),
        async_local_executor::peer(),
    ]);
    peers
}

#[cfg(test)]
mod tests {
    use onelane_cases::{Meter, Size};

    #[test]
    fn each_does_its_work() {
        for peer in super::all().0 {
            for (id, work) in peer.works {
                let case = onelane_cases::find(id).unwrap_or_else(|| panic!("{}: no case {id}", peer.id));
                let size = Size { width: case.width.min(50), ..case.least(true) };
                assert_eq!(work(size, Meter::NONE), size.operations(), "{} in {id}", peer.id);
            }
        }
    }
}
