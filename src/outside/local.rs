//! Values of one thread in code that requires `Send`: [`Local`].
//!
//! The framework that requires `Send` runs on one thread here, and sends nothing. So the check is
//! moved from the compiler to the run: each access compares the number of the thread with the
//! number that was stored when the value was wrapped.
//!
//! The value is in a pinned box, for the sake of a drop on another thread. The destructor must not
//! run there, and memory of a pinned value must not be freed before its destructor has run: it may
//! contain a node of a list whose other nodes point to it. So the box is leaked, and the node stays
//! valid.
//!
//! This file does not know loops, tasks and frameworks.
#![allow(unsafe_code, reason = "a value is Send, because only its own thread uses it")]

use crate::kernel::callbacks::exceptions;
use crate::platform::{panicking, this_thread};
use alloc::boxed::Box;
use core::fmt;
use core::mem::{forget, needs_drop};
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Wraps a future, or another value, so that it is `Send` and `Sync`. It can be used only on this
/// thread.
///
/// Frameworks such as axum and tonic require that the futures of their handlers are `Send`, because
/// they are mostly run by an executor with several threads. On a loop of this crate they run on one
/// thread. Wrap the body of a handler: then it can use [`timeout`](crate::timeout()),
/// [`spawn`](crate::spawn()), [`gather`](crate::gather()), [`sync`](crate::sync) and everything
/// else that is not `Send`. Wrap also what handlers share, such as an `Rc`.
///
/// The programs in `examples/works-with` show this with axum, tonic, hyper-util and hickory;
/// `docs/works-with.md` lists them.
///
/// Cancel safety: that of the future inside.
///
/// asyncio: not needed, because Python does not distinguish such values.
///
/// # Panics
///
/// The wrapper panics if its value is used or dropped on another thread; see [`Local`].
///
/// # Cost
///
/// One allocation, and a comparison for each poll.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, local, spawn, timeout};
/// use std::time::Duration;
///
/// /// What a framework requires of a handler.
/// async fn serve<F: Future<Output = String> + Send>(handler: impl Fn() -> F) -> String {
///     handler().await
/// }
///
/// async fn hello() -> String {
///     local(async {
///         let name = spawn(async { "lane" });
///         let name = timeout(Duration::from_secs(1), name).await.unwrap().unwrap();
///         format!("hello, {name}")
///     })
///     .await
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(serve(hello).await, "hello, lane");
/// });
/// ```
#[doc(alias = "SendWrapper")]
#[doc(alias = "Fragile")]
#[track_caller]
pub fn local<T>(value: T) -> Local<T> {
    Local { value: Some(Box::pin(value)), home: this_thread(), made_at: Location::caller() }
}

/// A value of one thread that is `Send` and `Sync`: the result of [`local`].
///
/// It is a future if the value is one. Otherwise use the value by `*` and `.`, as that of a `Box`.
/// With the feature `stream`, it is a stream if the value is one.
///
/// # Panics
///
/// If the value is polled, borrowed, cloned or taken out on a thread other than that where
/// [`local`] was called.
///
/// If it is **dropped** on another thread. The value is not dropped then, because its destructor
/// must not run there: it is leaked, with everything that it owns. If that thread is already
/// panicking, a second panic would abort the process, so a line on stderr reports the leak instead.
/// A value without a destructor, such as a number or a `&str`, may be dropped anywhere.
///
/// The standard library aborts the process if the destructor of a thread's result panics, or that of
/// a thread-local variable. So do not drop the result of a thread unread if it contains a `Local`,
/// and do not keep a `Local` of one thread in a thread-local variable of another.
///
/// To drop it at home, send it there: `remote.call_soon(move || drop(wrapper))`, with the
/// [`Remote`](crate::Remote) of its loop. That also works if it is wrapped in other `Send` values.
/// If the loop has been dropped, `call_soon` drops the value where it is called, and so panics.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Local, local};
/// use std::{cell::Cell, rc::Rc, thread};
///
/// #[derive(Clone)]
/// struct App {
///     visits: Local<Rc<Cell<u32>>>,
/// }
///
/// fn is_accepted<State: Clone + Send + Sync + 'static>(state: State) -> State {
///     state
/// }
///
/// let app = is_accepted(App { visits: local(Rc::new(Cell::new(0))) });
/// app.visits.set(app.visits.get() + 1);
/// assert_eq!(app.visits.get(), 1);
///
/// // On another thread it can be passed on, and not used.
/// let app = thread::spawn(move || {
///     assert!(!Local::is_here(&app.visits));
///     app
/// });
/// assert_eq!(app.join().unwrap().visits.get(), 1);
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Local<T> {
    /// `None` only while it is dropped, and after `into_inner`.
    value: Option<Pin<Box<T>>>,
    /// The number of the thread that may use the value.
    home: u64,
    made_at: &'static Location<'static>,
}

// SAFETY: a thread other than `home` gets no reference to the value, and does not run its
// destructor: `at_home`, `Local::into_inner` and `Drop` compare the number of the thread first, and
// no other code reads the field `value`. No two threads of a process have the same number. What is
// left is the memory of the box, which any thread may free if the value has no destructor; and the
// pointer to it, which is a plain number for a thread that does not follow it.
unsafe impl<T> Send for Local<T> {}

// SAFETY: as above; every function that takes a `&Local<T>` gets at the value by `at_home`.
unsafe impl<T> Sync for Local<T> {}

const EMPTY: &str = "a Local has its value until it is dropped";

impl<T> Local<T> {
    /// Whether this is the thread where the value can be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Local, local};
    ///
    /// let here = local(7);
    /// assert!(Local::is_here(&here));
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert!(!Local::is_here(&here)));
    /// });
    /// ```
    #[inline]
    pub fn is_here(this: &Self) -> bool {
        this.home == this_thread()
    }

    /// Takes the value out.
    ///
    /// # Panics
    ///
    /// On another thread. The value is leaked then.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Local, local};
    /// use std::rc::Rc;
    ///
    /// let wrapper = local(Rc::new(7));
    /// assert_eq!(Rc::try_unwrap(Local::into_inner(wrapper)), Ok(7));
    /// ```
    #[track_caller]
    pub fn into_inner(mut this: Self) -> T
    where
        T: Unpin,
    {
        let value = this.value.take().expect(EMPTY);
        if !Self::is_here(&this) {
            forget(value);
            elsewhere("taken out", this.made_at);
        }
        *Pin::into_inner(value)
    }

    /// Checks that this thread may use the value.
    #[track_caller]
    #[inline]
    fn check(&self, done: &str) {
        if !Self::is_here(self) {
            elsewhere(done, self.made_at);
        }
    }

    #[track_caller]
    #[inline]
    fn at_home(&self, done: &str) -> &Pin<Box<T>> {
        self.check(done);
        self.value.as_ref().expect(EMPTY)
    }

    #[track_caller]
    #[inline]
    fn at_home_mut(&mut self, done: &str) -> &mut Pin<Box<T>> {
        self.check(done);
        self.value.as_mut().expect(EMPTY)
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn elsewhere(done: &str, made_at: &Location<'_>) -> ! {
    panic!(
        "the value of a local() made at {made_at} was {done} on another thread; call local() inside the future that \
         uses the value, and run that future on one thread, for example with Remote::spawn()"
    )
}

impl<F: Future> Future for Local<F> {
    type Output = F::Output;

    #[track_caller]
    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.at_home_mut("polled").as_mut().poll(context)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<S: futures_core::Stream> futures_core::Stream for Local<S> {
    type Item = S::Item;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.at_home_mut("polled").as_mut().poll_next(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.at_home("borrowed").size_hint()
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<F: futures_core::FusedFuture> futures_core::FusedFuture for Local<F> {
    fn is_terminated(&self) -> bool {
        self.at_home("borrowed").is_terminated()
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<S: futures_core::FusedStream> futures_core::FusedStream for Local<S> {
    fn is_terminated(&self) -> bool {
        self.at_home("borrowed").is_terminated()
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    #[track_caller]
    #[inline]
    fn deref(&self) -> &T {
        self.at_home("borrowed")
    }
}

impl<T: Unpin> DerefMut for Local<T> {
    #[track_caller]
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.at_home_mut("borrowed")
    }
}

impl<T: Clone> Clone for Local<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        local(T::clone(self.at_home("cloned")))
    }
}

impl<T> Drop for Local<T> {
    #[track_caller]
    fn drop(&mut self) {
        if needs_drop::<T>() && self.value.is_some() && !Self::is_here(self) {
            forget(self.value.take());
            leaked(self.made_at);
        }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn leaked(made_at: &Location<'_>) {
    let what = format!(
        "the value of a local() made at {made_at} was dropped on another thread, so it was leaked; drop it where it \
         was made, for example with Remote::call_soon()"
    );
    if !panicking() {
        panic!("{what}");
    }
    exceptions::complain(&what);
}

impl<T: fmt::Debug> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Local");
        if Self::is_here(self) {
            return tuple.field(&**self).finish();
        }
        tuple.field(&format_args!("a value of another thread")).finish()
    }
}
