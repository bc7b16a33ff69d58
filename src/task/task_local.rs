//! Task-local variables: each task has its own values, and its children inherit them.

use crate::kernel::context;
use crate::leaf::running;
use alloc::rc::Rc;
use core::any::Any;
use core::fmt;

/// Declares task-local variables: `static`s whose values belong to the running task. See
/// [`TaskLocal`].
///
/// A variable may have a default, for tasks in which it was never set. The default is an
/// expression, which is evaluated each time the unset variable is read.
///
/// # Examples
///
/// ```
/// onelane::task_local! {
///     /// Whose request this is.
///     static USER: String;
///     static DEPTH: u32 = 0;
/// }
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let _ = USER.set("ada".into());
///     let child = onelane::spawn(async {
///         assert_eq!(USER.get(), "ada"); // inherited
///         let _ = DEPTH.set(DEPTH.get() + 1); // stays here
///         DEPTH.get()
///     });
///     assert_eq!(child.await, Ok(1));
///     assert_eq!(DEPTH.get(), 0);
/// });
/// ```
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $default:expr; $($rest:tt)*) => {
        $(#[$attribute])* $visibility static $name: $crate::TaskLocal<$type> =
            $crate::TaskLocal::__new(::core::stringify!($name), ::core::option::Option::Some(|| $default));
        $crate::task_local! { $($rest)* }
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty; $($rest:tt)*) => {
        $(#[$attribute])* $visibility static $name: $crate::TaskLocal<$type> =
            $crate::TaskLocal::__new(::core::stringify!($name), ::core::option::Option::None);
        $crate::task_local! { $($rest)* }
    };
}

/// A variable with a separate value in each task. Declared with
/// [`task_local!`](crate::task_local!).
///
/// A task starts with the values that its spawner has when it spawns the task. Later changes in one
/// of the two are not visible in the other. A callback sees the values that existed where and when
/// it was scheduled.
/// Inheriting a value only increments a reference count, so values need not be `Clone`. A value is
/// dropped when the last task that has it ends.
///
/// The closure of a `to_thread` runs on another thread, and sees no values.
///
/// asyncio: `contextvars.ContextVar`.
///
/// # Cost
///
/// Until a variable is set in a loop, a spawn checks one flag; after that, each spawn increments a
/// count. `set` copies the list of the task's values; `get` searches the list.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, yield_now};
///
/// onelane::task_local! { static REQUEST: u32; }
///
/// fn log(text: &str) -> String {
///     format!("[{}] {text}", REQUEST.get()) // it was inherited
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let requests = [7, 8].map(|number| async move {
///         let _ = REQUEST.set(number);
///         yield_now().await;
///         log("hello")
///     });
///     assert_eq!(gather(requests).await.unwrap(), ["[7] hello", "[8] hello"]);
/// });
/// ```
#[doc(alias = "ContextVar")]
pub struct TaskLocal<T: 'static> {
    name: &'static str,
    default: Option<fn() -> T>,
}

/// The earlier state of a variable, for [`TaskLocal::reset`].
///
/// asyncio: `contextvars.Token`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskLocalToken};
///
/// onelane::task_local! { static INDENT: usize = 0; }
///
/// /// Lines are indented as long as it is there.
/// struct Section(Option<TaskLocalToken<usize>>);
///
/// impl Drop for Section {
///     fn drop(&mut self) {
///         self.0.take().into_iter().for_each(|before| INDENT.reset(before));
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let section = Section(Some(INDENT.set(4)));
///     assert_eq!(format!("{:1$}end", "", INDENT.get()), "    end");
///     drop(section);
///     assert_eq!(INDENT.get(), 0);
/// });
/// ```
#[doc(alias = "Token")]
pub struct TaskLocalToken<T: 'static> {
    variable: &'static TaskLocal<T>,
    value: Option<Rc<dyn Any>>,
}

impl<T: 'static> TaskLocal<T> {
    #[doc(hidden)]
    pub const fn __new(name: &'static str, default: Option<fn() -> T>) -> Self {
        TaskLocal { name, default }
    }

    fn key(&'static self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Sets the value in the running task or callback. Tasks that it spawns from now on inherit the
    /// value.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::task_local! { static LEVEL: u32 = 1; }
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let before = LEVEL.set(2);
    ///     assert_eq!(LEVEL.get(), 2);
    ///     LEVEL.reset(before);
    ///     assert_eq!(LEVEL.get(), 1);
    /// });
    /// ```
    #[track_caller]
    pub fn set(&'static self, value: T) -> TaskLocalToken<T> {
        TaskLocalToken { variable: self, value: self.replace(Some(Rc::new(value))) }
    }

    /// Restores the state that the variable had before a [`set`](Self::set): its earlier value, or
    /// unset.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread. If `before` belongs to another variable.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::task_local! { static USER: String; }
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let before = USER.set("root".into());
    ///     assert_eq!(USER.get(), "root");
    ///     USER.reset(before); // to nothing, as it was
    ///     assert_eq!(USER.try_get(), None);
    /// });
    /// ```
    #[track_caller]
    pub fn reset(&'static self, before: TaskLocalToken<T>) {
        assert!(
            core::ptr::eq(self, before.variable),
            "reset() of {self:?} got the earlier value of {:?}; pass each variable its own",
            before.variable
        );
        drop(before.variable.replace(before.value));
    }

    #[track_caller]
    fn replace(&'static self, value: Option<Rc<dyn Any>>) -> Option<Rc<dyn Any>> {
        let kernel = running("a task-local variable's set() or reset()");
        let locals = kernel.locals();
        let before = locals.get(self.key());
        kernel.set_locals(locals.with(self.key(), value));
        before
    }

    /// Passes the value to `look`: the value in the running task or callback, otherwise the
    /// default. `None` if there is neither.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::task_local! { static NAME: String; }
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     assert!(NAME.with(|name| name.is_none()));
    ///     let _ = NAME.set("ada".into());
    ///     assert_eq!(NAME.with(|name| name.unwrap().len()), 3);
    /// });
    /// ```
    pub fn with<R>(&'static self, look: impl FnOnce(Option<&T>) -> R) -> R {
        let set = context::running().and_then(|kernel| kernel.locals().get(self.key()));
        match set.as_ref().and_then(|value| value.downcast_ref()) {
            Some(value) => look(Some(value)),
            None => look(self.default.map(|default| default()).as_ref()),
        }
    }

    /// Returns the value, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::task_local! { static LANGUAGE: &'static str; }
    ///
    /// /// To be called outside of a loop too.
    /// fn greeting() -> &'static str {
    ///     match LANGUAGE.try_get() {
    ///         Some("de") => "Guten Tag",
    ///         _ => "Hello",
    ///     }
    /// }
    ///
    /// assert_eq!(greeting(), "Hello");
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let _ = LANGUAGE.set("de");
    ///     assert_eq!(greeting(), "Guten Tag");
    /// });
    /// ```
    pub fn try_get(&'static self) -> Option<T>
    where
        T: Clone,
    {
        self.with(|value| value.cloned())
    }

    /// Returns the value.
    ///
    /// # Panics
    ///
    /// If it was not set, and has no default: `LookupError` in asyncio. See
    /// [`try_get`](Self::try_get).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn};
    ///
    /// onelane::task_local! { static RETRIES: u32 = 3; }
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let _ = RETRIES.set(RETRIES.get() * 2);
    ///     assert_eq!(spawn(async { RETRIES.get() }).await, Ok(6));
    /// });
    /// assert_eq!(RETRIES.get(), 3); // the default, outside
    /// ```
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        match self.try_get() {
            Some(value) => value,
            None => panic!(
                "get() of {self:?} was called, but the variable was never set here; set it, or declare it with a default"
            ),
        }
    }
}

impl<T: 'static> fmt::Debug for TaskLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskLocal").field(&format_args!("{}", self.name)).finish()
    }
}

impl<T: 'static> fmt::Debug for TaskLocalToken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocalToken")
            .field("variable", self.variable)
            .field("was_set", &self.value.is_some())
            .finish()
    }
}
