//! Names instead of addresses: what counts as an address, look-ups and resolvers, how several
//! addresses are dialled, and servers at all addresses of a name. On the virtual clock, with
//! resolvers and connections of the tests' own, except where the text says so.
#![cfg(unix)]

mod common;

use common::{Census, Member, Trace, alone, ms, on_drop, virtual_loop, watched, words};
use futures_util::{AsyncReadExt, FutureExt, join};
use onelane::net::{
    self, AddressErrors, Endpoint, HAPPY_EYEBALLS_DELAY, LookupError, Lookups, Resolver, TcpListener, TcpStream,
    ToSocketAddrs, UdpSocket, happy_eyeballs, lookup_host,
};
use onelane::{Clock, EventLoop, RunError, call_graph, metrics, sleep, spawn, time, timeout, yield_now};
use std::cell::Cell;
use std::error::Error;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two addresses of each family, the preferred one first.
fn mixed() -> [SocketAddr; 4] {
    ["[2001:db8::1]:80", "[2001:db8::2]:80", "203.0.113.1:80", "203.0.113.2:80"].map(address)
}

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ConnectionRefused.into())
}

/// A resolver with one answer for all names, after a time.
#[derive(Clone)]
struct Answer {
    after: Duration,
    addresses: Vec<SocketAddr>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Answer {
    fn of(addresses: &[SocketAddr]) -> Self {
        Answer { after: Duration::ZERO, addresses: addresses.to_vec(), asked: Arc::default() }
    }

    /// The names that were looked up.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolver for Answer {
    fn lookup(&self, host: &str, port: u16) -> Lookups {
        self.asked.lock().unwrap().push(host.into());
        let this = self.clone();
        Box::pin(async move {
            if !this.after.is_zero() {
                sleep(this.after).await;
            }
            let own_port = |address: &SocketAddr| if address.port() == 0 { port } else { address.port() };
            Ok(this.addresses.iter().map(|address| SocketAddr::new(address.ip(), own_port(address))).collect())
        })
    }
}

fn with(resolver: impl Resolver + 'static) -> EventLoop {
    EventLoop::builder().clock(Clock::Virtual).resolver(resolver).build()
}

// ---- what is an address ----

#[test]
fn take_what_the_standard_library_takes() {
    fn same(one: impl ToSocketAddrs, other: impl std::net::ToSocketAddrs) {
        let expected: Vec<SocketAddr> = other.to_socket_addrs().unwrap().collect();
        let found = EventLoop::new().run(async { lookup_host(one).now_or_never() }).expect("ready at the first poll");
        assert_eq!(found.unwrap(), expected);
    }
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    same("127.0.0.1:80", "127.0.0.1:80");
    same(String::from("[::1]:80"), "[::1]:80");
    same("[fe80::1%3]:80", "[fe80::1%3]:80");
    same(("127.0.0.1", 80), ("127.0.0.1", 80));
    same((String::from("::1"), 80), ("::1", 80));
    same((v4, 80), (v4, 80));
    same((v6, 80), (v6, 80));
    same((IpAddr::from(v6), 80), (v6, 80));
    same(([127, 0, 0, 1], 80), (v4, 80));
    same(SocketAddrV4::new(v4, 80), (v4, 80));
    same(SocketAddrV6::new(v6, 80, 0, 7), SocketAddrV6::new(v6, 80, 0, 7));
    same(&mixed()[..], &mixed()[..]);
    let list = mixed().to_vec();
    same(&list, &mixed()[..]);
    same(mixed(), &mixed()[..]);
    same(mixed().to_vec(), &mixed()[..]);
    same(Endpoint::from(mixed()[0]), mixed()[0]);
}

#[test]
fn tell_what_is_wrong_with_an_address() {
    let cure = "write host:port, such as \"example.org:443\" or \"[::1]:443\", or pass (host, port)";
    for (text, message) in [
        ("", format!("the address \"\" has no port; {cure}")),
        ("example.org", format!("the address \"example.org\" has no port; {cure}")),
        ("example.org:", "the port \"\" of \"example.org:\" is not a number from 0 to 65535".into()),
        ("example.org:http", "the port \"http\" of \"example.org:http\" is not a number from 0 to 65535".into()),
        ("example.org:65536", "the port \"65536\" of \"example.org:65536\" is not a number from 0 to 65535".into()),
        ("example.org:+80", "the port \"+80\" of \"example.org:+80\" is not a number from 0 to 65535".into()),
        ("example.org:-1", "the port \"-1\" of \"example.org:-1\" is not a number from 0 to 65535".into()),
        ("127.0.0.1:65536", "the port \"65536\" of \"127.0.0.1:65536\" is not a number from 0 to 65535".into()),
        ("::1", format!("the address \"::1\" is neither an IPv6 address in brackets nor a name; {cure}")),
        ("::1:80", format!("the address \"::1:80\" is neither an IPv6 address in brackets nor a name; {cure}")),
        ("[::1]", format!("the address \"[::1]\" is neither an IPv6 address in brackets nor a name; {cure}")),
        ("[name]:80", format!("the address \"[name]:80\" is neither an IPv6 address in brackets nor a name; {cure}")),
        ("a\0b:80", "the host name \"a\\0b\" contains a NUL, which no name may contain".into()),
        (":80", "the host name is empty; only start_server() accepts that, and listens everywhere".into()),
    ] {
        let error = with(Answer::of(&mixed())).run(async { lookup_host(text).now_or_never() });
        let error = error.expect("ready at the first poll").unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, message), "{text:?}");
    }
    let nothing: [SocketAddr; 0] = [];
    let error = virtual_loop().run(TcpStream::connect(nothing)).unwrap_err();
    assert_eq!(error.to_string(), "the list of addresses is empty; pass at least one");
}

#[test]
fn each_function_returns_the_error_of_its_address() {
    virtual_loop().run(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let errors = [
            TcpStream::connect("lane").await.map(drop).unwrap_err(),
            TcpListener::bind("lane").await.map(drop).unwrap_err(),
            TcpListener::bind_shared("lane").await.map(drop).unwrap_err(),
            UdpSocket::bind("lane").await.map(drop).unwrap_err(),
            socket.connect("lane").await.unwrap_err(),
            socket.send_to(b"x", "lane").await.map(drop).unwrap_err(),
            net::open_connection("lane").await.map(drop).unwrap_err(),
            net::start_server("lane", async |_, _| {}).await.map(drop).unwrap_err(),
            lookup_host("lane").await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().starts_with("the address \"lane\" has no port; "), "{error}");
        }
    });
}

// ---- look-ups ----

/// By the operating system, on the virtual clock: the loop waits for the other thread.
#[test]
fn look_up_localhost_and_no_such_host() {
    watched(|| {
        virtual_loop().run(async {
            let addresses = lookup_host(("localhost", 7)).await.unwrap();
            assert!(!addresses.is_empty());
            assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7));

            let error = lookup_host("no-such-host.invalid:80").await.unwrap_err();
            assert!(error.to_string().starts_with("cannot look up \"no-such-host.invalid\": "), "{error}");
            let kind = error.kind();
            let error = error.downcast::<LookupError>().unwrap();
            assert_eq!(error.host(), "no-such-host.invalid");
            let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.kind(), kind);
        });
    });
}

#[test]
fn many_look_ups_at_once() {
    watched(|| {
        virtual_loop().run(async {
            let lookups = (0..100).map(|port| lookup_host(("localhost", port)));
            for (port, addresses) in futures_util::future::join_all(lookups).await.into_iter().enumerate() {
                assert_eq!(usize::from(addresses.unwrap()[0].port()), port);
            }
        });
    });
}

#[test]
fn connect_to_localhost() {
    watched(|| {
        EventLoop::new().run(async {
            let server = net::start_server("localhost:0", async |_, mut writer| {
                writer.write_all(b"welcome").await.unwrap();
            });
            let server = server.await.unwrap();
            let port = server.local_addr().unwrap().port();
            let mut text = String::new();
            let mut stream = TcpStream::connect(format!("localhost:{port}")).await.unwrap();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "welcome");
            let (mut reader, _writer) = net::open_connection(("localhost", port)).await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"welcome");
        });
    });
}

/// The threads of `to_thread` and those of look-ups are separate.
#[cfg(feature = "threads")]
#[test]
fn look_up_while_all_threads_of_to_thread_are_occupied() {
    common::alone_with("look_up_while_all_threads_of_to_thread_are_occupied", &[("BLOCKING_MAX_THREADS", "1")], || {
        let (release, released) = std::sync::mpsc::channel::<()>();
        EventLoop::new().run(async {
            let occupied = spawn(onelane::to_thread(move || released.recv().unwrap()));
            let waits = spawn(onelane::to_thread(|| ()));
            lookup_host("localhost:80").await.unwrap();
            assert!(!occupied.is_done() && !waits.is_done());
            release.send(()).unwrap();
            waits.await.unwrap().unwrap();
        });
    });
}

#[test]
fn a_look_up_that_was_given_up_leaves_nothing_that_could_wake_the_loop() {
    watched(|| {
        let result = virtual_loop().try_run(async {
            for _ in 0..20 {
                assert!(lookup_host("localhost:80").now_or_never().is_none());
            }
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    });
}

#[test]
fn a_look_up_tells_what_is_waited_for() {
    watched(|| {
        virtual_loop().run(async {
            let line = line!() + 1;
            let task = spawn(async { lookup_host("localhost:80").await });
            yield_now().await;
            let graph = call_graph();
            let waiting = graph.tasks.iter().find(|snapshot| snapshot.id == task.id()).unwrap();
            assert_eq!(words(waiting), "the addresses of \"localhost\"");
            assert_eq!((waiting.waits_for[0].at.file(), waiting.waits_for[0].at.line()), (file!(), line));
            task.await.unwrap().unwrap();
        });
    });
}

#[test]
fn a_slow_look_up_keeps_only_its_task() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let answer = Answer { after: Duration::from_secs(3), ..Answer::of(&[open]) };
    let trace = Trace::new();
    with(answer.clone()).run(async {
        let begun = time();
        let ticks = trace.clone();
        let ticker = spawn(async move {
            for _ in 0..2 {
                sleep(Duration::from_secs(1)).await;
                ticks.push(format!("{:?}", time() - begun));
            }
        });
        let stream = TcpStream::connect("lane.test:1").await.unwrap();
        trace.push(format!("{:?}", time() - begun));
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(ticker.is_done());
        // A look-up may be given up.
        let result = timeout(Duration::from_secs(1), TcpStream::connect("lane.test:1")).await;
        assert!(result.is_err());
        assert_eq!(metrics().timers_pending, 0);
    });
    assert_eq!(trace.take(), ["1s", "2s", "3s"]);
    assert_eq!(answer.asked(), ["lane.test", "lane.test"]);
}

#[test]
fn what_is_numeric_is_not_looked_up() {
    let answer = Answer::of(&mixed());
    with(answer.clone()).run(async {
        let listener = TcpListener::bind("127.0.0.1:0").now_or_never().unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let server = net::start_server("127.0.0.1:0", async |_, _| {}).now_or_never().unwrap().unwrap();
        assert_eq!(server.local_addrs().len(), 1);
        assert!(net::start_server(("", 0), async |_, _| {}).now_or_never().is_some());
        let socket = UdpSocket::bind("127.0.0.1:0").now_or_never().unwrap().unwrap();
        socket.connect(("127.0.0.1", 9)).now_or_never().unwrap().unwrap();
    });
    assert_eq!(answer.asked(), [""; 0]);
}

#[test]
fn a_name_without_addresses() {
    with(Answer::of(&[])).run(async {
        let errors = [
            TcpStream::connect("lane.test:80").await.map(drop).unwrap_err(),
            TcpListener::bind("lane.test:80").await.map(drop).unwrap_err(),
            net::start_server("lane.test:80", async |_, _| {}).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!(error.to_string(), "the host \"lane.test\" has no addresses");
        }
    });
}

#[test]
fn an_address_that_is_found_twice_is_returned_once() {
    let [one, other, ..] = mixed();
    let found = with(Answer::of(&[one, other, one, one, other])).run(lookup_host("lane.test:80")).unwrap();
    assert_eq!(found, [one, other]);
}

#[test]
fn two_loops_with_their_own_resolvers() {
    let [one, other, ..] = mixed();
    let loops = [with(Answer::of(&[one])), with(Answer::of(&[other])), virtual_loop()];
    assert_eq!(loops[0].run(lookup_host("lane.test:80")).unwrap(), [one]);
    assert_eq!(loops[1].run(lookup_host("lane.test:80")).unwrap(), [other]);
    let found = watched_in(&loops[2]);
    assert!(found.iter().all(|address| address.ip().is_loopback()));
}

fn watched_in(event_loop: &EventLoop) -> Vec<SocketAddr> {
    event_loop.run(lookup_host("localhost:80")).unwrap()
}

/// It looks up another name, spawns, and is dropped with the loop, after its tasks.
struct Busy {
    _member: Member,
}

impl Resolver for Busy {
    fn lookup(&self, host: &str, port: u16) -> Lookups {
        drop(spawn(async {}));
        match host.split_once('.') {
            Some((_, rest)) => Box::pin(lookup_host((rest, port))),
            None => Box::pin(async move { Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]) }),
        }
    }
}

#[test]
fn a_resolver_may_do_what_a_task_may_and_is_dropped_with_its_loop() {
    let census = Census::new();
    let event_loop = with(Busy { _member: census.member() });
    assert_eq!(event_loop.run(lookup_host("a.b.c:80")).unwrap(), [address("127.0.0.1:80")]);
    // A destructor that looks up, while the loop is dropped.
    drop(event_loop.spawn(async {
        let _last = on_drop(|| assert!(lookup_host("a.b.c:80").now_or_never().unwrap().is_ok()));
        pending::<()>().await;
    }));
    event_loop.turn();
    assert_eq!(census.counts(), (1, 0));
    drop(event_loop);
    assert_eq!(census.counts(), (1, 1));
}

#[test]
fn the_last_resolver_of_a_builder_counts() {
    let [one, other, ..] = mixed();
    let builder = EventLoop::builder().resolver(Answer::of(&[one])).resolver(Rc::new(Answer::of(&[other])));
    assert_eq!(builder.build().run(lookup_host("lane.test:80")).unwrap(), [other]);
}

#[test]
fn a_panic_of_a_resolver_is_the_task_s() {
    struct Panics;
    impl Resolver for Panics {
        fn lookup(&self, _: &str, _: u16) -> Lookups {
            panic!("no names today")
        }
    }
    with(Panics).run(async {
        let error = spawn(lookup_host("lane.test:80")).await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: no names today");
    });
}

// ---- dialling ----

/// Dials as `dial` says, and records when each attempt begins, fails and is dropped. Returns the
/// winner and the time.
fn race(
    addresses: &[SocketAddr],
    delay: Option<Duration>,
    answers: &[(u64, bool)],
) -> (Vec<String>, io::Result<usize>) {
    let trace = Trace::new();
    let result = virtual_loop().run(async {
        let begun = time();
        let now = move || (time() - begun).as_millis();
        let mut dialled = 0;
        let dial = |address: SocketAddr| {
            let nth = addresses.iter().position(|other| *other == address).unwrap();
            trace.push(format!("{}: dial {nth}", now()));
            let (after, succeeds) = answers[dialled];
            dialled += 1;
            let own = trace.clone();
            async move {
                let (copy, is_over) = (own.clone(), Rc::new(Cell::new(false)));
                let flag = is_over.clone();
                let _dropped = on_drop(move || {
                    if !flag.get() {
                        copy.push(format!("{}: drop {nth}", now()));
                    }
                });
                sleep(ms(after)).await;
                is_over.set(true);
                own.push(format!("{}: {} {nth}", now(), if succeeds { "win" } else { "fail" }));
                if succeeds { Ok(nth) } else { refused() }
            }
        };
        let result = happy_eyeballs(addresses.iter().copied(), dial).delay(delay).await;
        assert_eq!(metrics().timers_pending, 0);
        result
    });
    (trace.take(), result)
}

#[test]
fn dial_the_next_address_after_a_quarter_of_a_second() {
    assert_eq!(HAPPY_EYEBALLS_DELAY, ms(250));
    // The families alternate: 0 and 1 are IPv6, 2 and 3 are IPv4.
    let (trace, result) =
        race(&mixed(), Some(HAPPY_EYEBALLS_DELAY), &[(10_000, true), (10_000, true), (100, true), (0, true)]);
    assert_eq!(trace, ["0: dial 0", "250: dial 2", "500: dial 1", "600: win 1", "600: drop 0", "600: drop 2"]);
    assert_eq!(result.unwrap(), 1);
}

#[test]
fn an_earlier_attempt_may_win() {
    let (trace, result) = race(&mixed(), Some(ms(250)), &[(300, true), (10_000, true)]);
    assert_eq!(trace, ["0: dial 0", "250: dial 2", "300: win 0", "300: drop 2"]);
    assert_eq!(result.unwrap(), 0);
}

#[test]
fn dial_the_next_address_as_soon_as_one_fails() {
    // The delay begins anew with each attempt.
    let (trace, result) = race(&mixed(), Some(ms(250)), &[(100, false), (10_000, true), (50, false), (300, true)]);
    assert_eq!(
        trace,
        [
            "0: dial 0",
            "100: fail 0",
            "100: dial 2",
            "350: dial 1",
            "400: fail 1",
            "400: dial 3",
            "700: win 3",
            "700: drop 2",
        ]
    );
    assert_eq!(result.unwrap(), 3);
}

#[test]
fn an_older_attempt_that_fails_counts_too() {
    let (trace, result) = race(&mixed(), Some(ms(250)), &[(300, false), (10_000, true), (0, true)]);
    assert_eq!(trace, ["0: dial 0", "250: dial 2", "300: fail 0", "300: dial 1", "300: win 1", "300: drop 2"]);
    assert_eq!(result.unwrap(), 1);
}

#[test]
fn dial_one_after_the_other_without_a_delay() {
    let (trace, result) = race(&mixed(), None, &[(5_000, false), (5_000, false), (5_000, true)]);
    let expected = ["0: dial 0", "5000: fail 0", "5000: dial 2", "10000: fail 2", "10000: dial 1", "15000: win 1"];
    assert_eq!(trace, expected);
    assert_eq!(result.unwrap(), 1);
}

#[test]
fn dial_all_at_once_with_a_delay_of_zero() {
    let (trace, result) = race(&mixed(), Some(ms(0)), &[(10, true); 4]);
    let expected =
        ["0: dial 0", "0: dial 2", "0: dial 1", "0: dial 3", "10: win 0", "10: drop 2", "10: drop 1", "10: drop 3"];
    assert_eq!(trace, expected);
    assert_eq!(result.unwrap(), 0);
}

#[test]
fn report_the_errors_of_all_addresses() {
    let (_, result) = race(&mixed(), Some(ms(250)), &[(600, false), (600, false), (600, false), (10, false)]);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let text = "[2001:db8::1]:80: connection refused; 203.0.113.2:80: connection refused; \
                203.0.113.1:80: connection refused; [2001:db8::2]:80: connection refused";
    assert_eq!(error.to_string(), text);
    let errors = error.downcast::<AddressErrors>().unwrap();
    // In the order in which they failed.
    let order = errors.errors().iter().map(|(address, _)| *address).collect::<Vec<_>>();
    assert_eq!(order, [0, 3, 2, 1].map(|nth| mixed()[nth]));
    assert!(errors.source().unwrap().is::<io::Error>());
    // A single error is not wrapped.
    let (_, result) = race(&mixed()[..1], Some(ms(250)), &[(600, false)]);
    assert_eq!(result.unwrap_err().to_string(), "connection refused");
    let (_, result) = race(&[], Some(ms(250)), &[]);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn alternate_families_behind_the_first() {
    let order = |interleave: usize, addresses: Vec<SocketAddr>| {
        let trace = Trace::new();
        let dial = async |address: SocketAddr| {
            trace.push(address.to_string());
            refused::<()>()
        };
        assert!(virtual_loop().run(happy_eyeballs(addresses, dial).interleave(interleave)).is_err());
        trace.take().concat()
    };
    let numbered = |families: &str| -> Vec<SocketAddr> {
        let one = |(nth, family)| match family {
            '6' => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), nth as u16),
            _ => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), nth as u16),
        };
        families.chars().enumerate().map(one).collect()
    };
    for (families, interleave, expected) in [
        ("6644", 1, [0, 2, 1, 3]),
        ("4466", 1, [0, 2, 1, 3]),
        ("6664", 1, [0, 3, 1, 2]),
        ("6444", 1, [0, 1, 2, 3]),
        ("6644", 2, [0, 1, 2, 3]),
        ("6664", 2, [0, 1, 3, 2]),
        ("6644", 0, [0, 1, 2, 3]),
        ("6646", 9, [0, 1, 3, 2]),
        ("4444", 1, [0, 1, 2, 3]),
    ] {
        let addresses = numbered(families);
        let wanted = expected.map(|nth: usize| addresses[nth].to_string()).concat();
        assert_eq!(order(interleave, addresses), wanted, "{families} {interleave}");
    }
}

#[test]
fn cancel_a_race_and_drop_all_attempts() {
    let census = Census::new();
    virtual_loop().run(async {
        let members = census.clone();
        let dial = move |_| {
            let member = members.member();
            async move {
                let _member = member;
                pending::<io::Result<()>>().await
            }
        };
        let task = spawn(happy_eyeballs(mixed(), dial));
        sleep(ms(600)).await;
        assert_eq!(census.counts(), (3, 0));
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(census.counts(), (3, 3));
        assert_eq!(metrics().timers_pending, 0);
    });
}

#[test]
fn a_race_polled_in_vain_dials_nothing_more() {
    virtual_loop().run(async {
        let dialled = std::cell::Cell::new(0);
        let mut race = happy_eyeballs(mixed(), |_| {
            dialled.set(dialled.get() + 1);
            pending::<io::Result<()>>()
        });
        for _ in 0..5 {
            assert!((&mut race).now_or_never().is_none());
        }
        assert_eq!(dialled.get(), 1);
        assert_eq!(metrics().timers_pending, 1);
    });
}

/// A socket of this machine that is connected to nothing: its queue of connections is full, so
/// further ones are not answered.
#[cfg(target_os = "linux")]
fn without_answer() -> Option<(SocketAddr, Vec<Box<dyn std::any::Any>>)> {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &address("127.0.0.1:0")).unwrap();
    listen(&listener, 0).unwrap();
    let own = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut kept: Vec<Box<dyn std::any::Any>> = vec![Box::new(listener)];
    for _ in 0..8 {
        match std::net::TcpStream::connect_timeout(&own, ms(200)) {
            Ok(stream) => kept.push(Box::new(stream)),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Some((own, kept)),
            Err(_) => return None,
        }
    }
    None
}

/// Real sockets: the first address does not answer, and the second does.
#[cfg(target_os = "linux")]
#[test]
fn connect_to_the_second_address_after_exactly_the_delay() {
    let Some((silent, _kept)) = without_answer() else {
        eprintln!("skipped: this system answers although the queue is full");
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    with(Answer::of(&[silent, open])).run(async {
        for (delay, expected) in [(None, HAPPY_EYEBALLS_DELAY), (Some(ms(40)), ms(40))] {
            let begun = time();
            let connect = TcpStream::connect("lane.test:1");
            let stream = match delay {
                Some(delay) => connect.happy_eyeballs_delay(delay).await.unwrap(),
                None => connect.await.unwrap(),
            };
            assert_eq!((stream.peer_addr().unwrap(), time() - begun), (open, expected));
        }
        // A task that waits for both attempts is cancelled.
        let task = spawn(TcpStream::connect([silent, silent]));
        sleep(ms(300)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(metrics().timers_pending, 0);
    });
}

/// An address at which nobody listens.
fn closed() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn connect_to_the_first_address_that_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let (one, other) = (closed(), closed());
    with(Answer::of(&[one, other, open])).run(async {
        let begun = time();
        let stream = TcpStream::connect("lane.test:1").await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert_eq!(time(), begun, "a refusal is not waited for");

        let error = TcpStream::connect([one, other]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let errors = error.downcast::<AddressErrors>().unwrap();
        assert_eq!(errors.errors().iter().map(|(address, _)| *address).collect::<Vec<_>>(), [one, other]);
        // The error of one address is the system's.
        assert!(TcpStream::connect(one).await.unwrap_err().raw_os_error().is_some());
    });
}

#[test]
fn connect_from_a_local_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let local = address("127.0.0.1:0");
    virtual_loop().run(async {
        let stream = TcpStream::connect([closed(), open]).local_addr(local).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), local.ip());
        let error = TcpStream::connect(open).local_addr(address("[::1]:0")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.to_string().starts_with("the local address [::1]:0 is of another family than 127.0.0.1:"));
        let (_, _) = net::open_connection(open).local_addr(local).interleave(0).await.unwrap();
    });
}

#[test]
fn a_connection_polled_after_its_end_is_a_panic() {
    let message = common::panic_of(|| {
        virtual_loop().run(async {
            let mut connect = TcpStream::connect("lane");
            assert!((&mut connect).now_or_never().unwrap().is_err());
            (&mut connect).now_or_never()
        })
    });
    assert_eq!(message, "a connect() was polled after it was ready; keep the result of the first await");
}

#[test]
fn the_futures_of_names_may_be_sent() {
    fn sends<T: Send>(_: T) {}
    sends(TcpStream::connect("a:1"));
    sends(net::open_connection("a:1"));
    sends(lookup_host("a:1"));
    sends(TcpListener::bind("a:1"));
    sends(UdpSocket::bind("a:1"));
    fn sends_of(socket: &UdpSocket) {
        sends(socket.send_to(b"", "a:1"));
        sends(socket.connect("a:1"));
    }
    let _ = sends_of;
}

// ---- binding and serving ----

#[test]
fn bind_at_the_first_address_that_is_free() {
    if !has_second_address() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (taken.local_addr().unwrap(), address("127.0.0.2:0"));
    let _taken = (std::net::UdpSocket::bind(taken).unwrap(), std::net::TcpListener::bind(taken));
    with(Answer::of(&[taken, free])).run(async {
        let taken_again = TcpListener::bind(taken).await;
        assert_eq!(taken_again.unwrap_err().kind(), ErrorKind::AddrInUse);
        let listener = TcpListener::bind("lane.test:0").await.unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), free.ip());
        let socket = UdpSocket::bind("lane.test:0").await.unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), free.ip());
        let error = UdpSocket::bind([taken, taken]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(error.downcast::<AddressErrors>().unwrap().errors().len(), 2);
    });
}

/// Whether all of `127.0.0.0/8` is this machine, as on Linux.
fn has_second_address() -> bool {
    std::net::TcpListener::bind("127.0.0.2:0").is_ok()
}

/// Whether this machine has IPv6.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn a_server_listens_at_all_addresses_of_its_name() {
    if !has_second_address() {
        return;
    }
    let mut addresses = vec![address("127.0.0.1:0"), address("127.0.0.2:0")];
    if has_ipv6() {
        addresses.push(address("[::1]:0"));
    }
    // A file of hosts may contain an address twice.
    let twice = [&addresses[..], &addresses[..]].concat();
    with(Answer::of(&twice)).run(async {
        let handler = async |_, mut writer: net::StreamWriter| writer.write_all(b"here").await.unwrap();
        let server = net::start_server("lane.test:0", handler).await.unwrap();
        let ips: Vec<_> = server.local_addrs().iter().map(SocketAddr::ip).collect();
        assert_eq!(ips, addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        assert_eq!(server.local_addr().unwrap(), server.local_addrs()[0]);
        for address in server.local_addrs() {
            let (mut reader, _writer) = net::open_connection(*address).await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"here");
        }
        let names: Vec<_> = call_graph().tasks.iter().map(|snapshot| snapshot.name.to_string()).collect();
        for address in server.local_addrs() {
            assert!(names.contains(&format!("server at {address}")), "{names:?}");
        }
        server.close();
        server.wait_closed().await;
        for address in server.local_addrs() {
            assert!(net::open_connection(*address).await.is_err());
        }
        assert_eq!(metrics().alive, 1, "the accepting tasks have ended");
    });
}

#[test]
fn an_address_in_use_closes_the_others_of_the_server() {
    if !has_second_address() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let addresses = [address("127.0.0.1:0"), address("127.0.0.2:0")];
    with(Answer::of(&addresses)).run(async {
        let error = net::start_server(("lane.test", port), async |_, _| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("127.0.0.2:{port}: ")), "{error}");
        assert_eq!(metrics().alive, 1, "no task accepts");
        let error = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_server_without_a_name_listens_everywhere() {
    virtual_loop().run(async {
        let server = net::start_server(("", 0), async |_, mut writer| writer.write_all(b"here").await.unwrap());
        let server = server.await.unwrap();
        assert_eq!(server.local_addrs().len(), if has_ipv6() { 2 } else { 1 });
        for address in server.local_addrs() {
            let home: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let (mut reader, _writer) = net::open_connection((home, address.port())).await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"here");
        }
        // The same port for both families: the IPv6 socket leaves IPv4 alone.
        let port = server.local_addr().unwrap().port();
        server.close();
        let server = net::start_server(("", port), async |_, _| {}).await.unwrap();
        assert!(server.local_addrs().iter().all(|address| address.port() == port));
    });
}

#[test]
fn close_a_server_from_one_of_its_handlers() {
    if !has_second_address() {
        return;
    }
    with(Answer::of(&["127.0.0.1:0", "127.0.0.2:0"].map(address))).run(async {
        let event = Rc::new(onelane::sync::Event::new());
        let asked = event.clone();
        let handler = async move |_, _| {
            asked.set();
        };
        let server = net::start_server("lane.test:0", handler).await.unwrap();
        let serving = async {
            event.wait().await;
            server.close();
        };
        let (_, connection, ()) = join!(server.serve_forever(), net::open_connection(server.local_addrs()[1]), serving);
        connection.unwrap();
        assert!(!server.is_serving());
    });
}

#[test]
fn a_datagram_goes_to_an_address_of_its_socket_s_family() {
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = receiver.local_addr().unwrap().port();
    let addresses = [address("[::1]:0"), address("127.0.0.1:0")];
    with(Answer::of(&addresses)).run(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(socket.send_to(b"one", ("lane.test", port)).await.unwrap(), 3);
        socket.connect(("lane.test", port)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), receiver.local_addr().unwrap());
        assert_eq!(socket.send(b"other").await.unwrap(), 5);
    });
    let mut buffer = [0; 8];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 3);
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"other");
}

/// A hundred look-ups by the system, in a loop that is dropped meanwhile.
#[test]
fn drop_a_loop_with_look_ups() {
    alone("drop_a_loop_with_look_ups", || {
        let begun = Instant::now();
        for _ in 0..20 {
            let event_loop = EventLoop::new();
            for port in 0..100 {
                drop(event_loop.spawn(lookup_host(("localhost", port))));
            }
            event_loop.turn();
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    });
}

/// The other attempts are dropped when one has succeeded, also if the future is kept.
#[test]
fn drop_the_losers_when_one_has_answered() {
    EventLoop::with_virtual_clock().run(async {
        let dropped = Cell::new(0);
        let dial = |address: SocketAddr| {
            let guard = on_drop(|| dropped.set(dropped.get() + 1));
            async move {
                let _guard = guard;
                if address.is_ipv6() {
                    pending::<()>().await;
                }
                Ok(address)
            }
        };
        let addresses: [SocketAddr; 2] = ["[::1]:80".parse().unwrap(), "127.0.0.1:80".parse().unwrap()];
        let mut dials = std::pin::pin!(happy_eyeballs(addresses, dial));
        assert_eq!(dials.as_mut().await.unwrap(), addresses[1]);
        assert_eq!(dropped.get(), 2);
    });
}
