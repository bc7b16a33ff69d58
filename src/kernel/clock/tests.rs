use super::*;

#[test]
fn after_reaches_never_and_stays_there() {
    assert_eq!(Time(5).after(Duration::from_nanos(3)), Time(8));
    assert_eq!(Time(5).after(Duration::MAX), Time::NEVER);
    assert_eq!(Time::NEVER.after(Duration::from_nanos(1)), Time::NEVER);
    assert_eq!(Time(3).since(Time(5)), Duration::ZERO);
}

#[test]
fn virtual_time_moves_when_it_is_moved() {
    let clock = Clock::virtual_time();
    assert_eq!((clock.now(), clock.is_virtual()), (Time(0), true));
    clock.jump(Time(7));
    clock.jump(Time(7));
    assert_eq!(clock.now(), Time(7));
    assert_eq!(clock.time_at(clock.now_as_instant()), Time(7));
    assert_eq!(clock.time_at(clock.epoch), Time(0));
}

#[test]
#[should_panic(expected = "TIME-1")]
fn virtual_time_does_not_go_back() {
    let clock = Clock::virtual_time();
    clock.jump(Time(7));
    clock.jump(Time(6));
}

#[test]
fn real_time_does_not_go_back() {
    let clock = Clock::real();
    let first = clock.now();
    assert!(clock.now() >= first);
    assert!(!clock.is_virtual());
}
