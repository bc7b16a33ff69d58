//! A cell whose uses an exploration knows.

use crate::kernel::explore::Known;
use core::cell::RefCell;
use core::fmt;

/// A value that tasks share, as in a [`Cell`](std::cell::Cell) or a [`RefCell`]. An exploration knows
/// which steps read and write it, so it can leave out orders that make no difference: see
/// `explore::Explore::reduce`, with the feature `explore`.
///
/// It is a `RefCell` whose borrows end with a call, so no borrow can last over an await. It does not
/// allocate. Without the feature, it costs what the `RefCell` costs; with it, 8 bytes more. asyncio has
/// no such type, because it has no such exploration.
///
/// # Examples
///
/// ```
/// use onelane::{gather, sync::Tracked, yield_now};
/// use std::rc::Rc;
///
/// onelane::run(async {
///     let count = Rc::new(Tracked::new(0));
///     let add = || {
///         let count = count.clone();
///         async move {
///             yield_now().await;
///             count.update(|count| count + 1);
///         }
///     };
///     gather([add(), add()]).await.unwrap();
///     assert_eq!(count.get(), 2);
/// });
/// ```
pub struct Tracked<T> {
    known: Known,
    value: RefCell<T>,
}

impl<T> Tracked<T> {
    /// Creates a cell with this value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::sync::Tracked::new(7).get(), 7);
    /// ```
    pub fn new(value: T) -> Self {
        Tracked { known: Known::new(), value: RefCell::new(value) }
    }

    /// Calls `read` with the value, and returns what it returns.
    ///
    /// # Panics
    ///
    /// If it is called from inside of [`with_mut`](Self::with_mut) of the same cell.
    ///
    /// # Examples
    ///
    /// ```
    /// let names = onelane::sync::Tracked::new(vec!["tea"]);
    /// assert_eq!(names.with(|names| names.len()), 1);
    /// ```
    #[track_caller]
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        self.known.reads();
        let Ok(value) = self.value.try_borrow() else { in_use("read") };
        read(&value)
    }

    /// Calls `write` with the value, and returns what it returns.
    ///
    /// # Panics
    ///
    /// If it is called from inside of [`with`](Self::with) or [`with_mut`](Self::with_mut) of the same
    /// cell.
    ///
    /// # Examples
    ///
    /// ```
    /// let names = onelane::sync::Tracked::new(vec!["tea"]);
    /// names.with_mut(|names| names.push("coffee"));
    /// assert_eq!(names.with(|names| names.len()), 2);
    /// ```
    #[track_caller]
    pub fn with_mut<R>(&self, write: impl FnOnce(&mut T) -> R) -> R {
        self.known.writes();
        let Ok(mut value) = self.value.try_borrow_mut() else { in_use("written") };
        write(&mut value)
    }

    /// Returns a copy of the value.
    ///
    /// # Panics
    ///
    /// Like [`with`](Self::with).
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::sync::Tracked::new("tea").get(), "tea");
    /// ```
    #[track_caller]
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.with(|value| *value)
    }

    /// Sets the value. The old value is dropped when the cell can be used again.
    ///
    /// # Panics
    ///
    /// Like [`with_mut`](Self::with_mut).
    ///
    /// # Examples
    ///
    /// ```
    /// let count = onelane::sync::Tracked::new(1);
    /// count.set(2);
    /// assert_eq!(count.get(), 2);
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }

    /// Sets the value, and returns the old one.
    ///
    /// # Panics
    ///
    /// Like [`with_mut`](Self::with_mut).
    ///
    /// # Examples
    ///
    /// ```
    /// let count = onelane::sync::Tracked::new(1);
    /// assert_eq!((count.replace(2), count.get()), (1, 2));
    /// ```
    #[track_caller]
    pub fn replace(&self, value: T) -> T {
        self.with_mut(|old| core::mem::replace(old, value))
    }

    /// Sets the value to what `change` makes of it.
    ///
    /// # Panics
    ///
    /// Like [`with_mut`](Self::with_mut).
    ///
    /// # Examples
    ///
    /// ```
    /// let count = onelane::sync::Tracked::new(1);
    /// count.update(|count| count + 1);
    /// assert_eq!(count.get(), 2);
    /// ```
    #[track_caller]
    pub fn update(&self, change: impl FnOnce(T) -> T)
    where
        T: Copy,
    {
        self.with_mut(|value| *value = change(*value));
    }

    /// Returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::sync::Tracked::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

#[cold]
#[track_caller]
fn in_use(what: &str) -> ! {
    panic!("a Tracked was {what} from inside of with() or with_mut() of the same one; end that call first")
}

impl<T: Default> Default for Tracked<T> {
    fn default() -> Self {
        Tracked::new(T::default())
    }
}

impl<T> From<T> for Tracked<T> {
    fn from(value: T) -> Self {
        Tracked::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Tracked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.known.reads();
        match self.value.try_borrow() {
            Ok(value) => f.debug_tuple("Tracked").field(&*value).finish(),
            Err(_) => f.write_str("Tracked(<in use>)"),
        }
    }
}
