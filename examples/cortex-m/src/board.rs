//! The page that onelane needs: time, waiting, wakes, interrupts off and on, and which code runs.

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Poll, Waker};
use core::time::Duration;
use cortex_m::peripheral::{SCB, syst::SystClkSource};
use cortex_m::register::primask;
use cortex_m::{Peripherals, asm, interrupt};
use cortex_m_rt::exception;
use cortex_m_semihosting::{debug, hprintln};
use critical_section::Mutex;
use embedded_alloc::LlffHeap;
use onelane::platform::Platform;

/// The clock of the processor, in QEMU's lm3s6965evb.
const HERTZ: u32 = 12_000_000;

/// Interrupt handlers may use it: it turns interrupts off.
#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// Milliseconds since the start. They wrap after 49 days; a program that runs longer counts in 64 bits.
static TICKS: AtomicU32 = AtomicU32::new(0);

struct Board;

// SAFETY: `context` is 0 in the main program, and in a handler the number of its exception. An
// exception does not interrupt itself.
unsafe impl Platform for Board {
    fn now(&self) -> Duration {
        Duration::from_millis(TICKS.load(Ordering::Relaxed).into())
    }

    fn wait(&self, _until: Option<Duration>) {
        // Returns at the next exception, so at the next tick at the latest. If an exception or SEV
        // came before, it returns at once.
        asm::wfe();
    }

    fn wake(&self) {
        asm::sev();
    }

    fn mask(&self) -> usize {
        let was_active = primask::read().is_active();
        interrupt::disable();
        was_active.into()
    }

    fn unmask(&self, was_active: usize) {
        if was_active != 0 {
            // SAFETY: this is the end of a `mask`, and interrupts were on before it.
            unsafe { interrupt::enable() };
        }
    }

    fn context(&self) -> usize {
        let active = SCB::vect_active();
        match active {
            cortex_m::peripheral::scb::VectActive::ThreadMode => 0,
            cortex_m::peripheral::scb::VectActive::Exception(exception) => (16 + exception.irqn()) as usize,
            cortex_m::peripheral::scb::VectActive::Interrupt { irqn } => 16 + irqn as usize,
        }
    }

    fn print(&self, line: &str) {
        print(format_args!("{line}"));
    }
}

/// Sets up the heap, the tick and the platform.
pub(crate) fn start() {
    const SIZE: usize = 16 << 10;
    static mut MEMORY: [u8; SIZE] = [0; SIZE];
    // SAFETY: called once, and nothing else uses the memory.
    unsafe { HEAP.init(&raw mut MEMORY as usize, SIZE) };
    onelane::platform::set(&Board);
    let mut clock = Peripherals::take().expect("this is the start").SYST;
    clock.set_clock_source(SystClkSource::Core);
    clock.set_reload(HERTZ / 1000 - 1);
    clock.clear_current();
    clock.enable_counter();
    clock.enable_interrupt();
}

#[exception]
fn SysTick() {
    let now = TICKS.fetch_add(1, Ordering::Relaxed) + 1;
    if now == 25 || now == 45 {
        SCB::set_pendsv();
    }
}

/// How often the button was pressed, and who waits for it.
static BUTTON: Mutex<RefCell<(u32, Option<Waker>)>> = Mutex::new(RefCell::new((0, None)));

/// The button.
#[exception]
fn PendSV() {
    let waker = critical_section::with(|section| {
        let mut button = BUTTON.borrow_ref_mut(section);
        button.0 += 1;
        button.1.take()
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Waits for the next press of the button.
pub(crate) async fn pressed() {
    poll_fn(|context| {
        critical_section::with(|section| {
            let mut button = BUTTON.borrow_ref_mut(section);
            if button.0 > 0 {
                button.0 -= 1;
                return Poll::Ready(());
            }
            button.1 = Some(context.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

pub(crate) fn print(line: fmt::Arguments<'_>) {
    hprintln!("{}", line);
}

/// A panic ends the program: without std no code can catch it.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print(format_args!("{info}"));
    debug::exit(debug::EXIT_FAILURE);
    loop {
        asm::wfe();
    }
}
