//! The values of task-local variables: a small map with copy on write. A task that inherits the map
//! only increments a count.
//!
//! This file does not know whose values they are: a task keeps them in its header, a callback in
//! its closure.

use alloc::{rc::Rc, vec::Vec};
use core::any::Any;

/// The keys are the addresses of the variables.
type Values = Vec<(usize, Rc<dyn Any>)>;

/// Dropping it may drop values, which is user code.
#[derive(Clone, Default)]
pub(crate) struct Locals(Option<Rc<Values>>);

impl Locals {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn get(&self, variable: usize) -> Option<Rc<dyn Any>> {
        let values = self.0.as_ref()?;
        values.iter().find(|(other, _)| *other == variable).map(|(_, value)| value.clone())
    }

    /// A copy in which `variable` has this value, or none.
    pub(crate) fn with(&self, variable: usize, value: Option<Rc<dyn Any>>) -> Self {
        let mut values = Values::new();
        if let Some(before) = &self.0 {
            for (other, value) in before.iter() {
                if *other != variable {
                    values.push((*other, value.clone()));
                }
            }
        }
        if let Some(value) = value {
            values.push((variable, value));
        }
        if values.is_empty() { Locals(None) } else { Locals(Some(Rc::new(values))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(locals: &Locals, variable: usize) -> Option<&'static str> {
        locals.get(variable).map(|value| *value.downcast::<&'static str>().unwrap())
    }

    #[test]
    fn write_to_a_copy_and_leave_the_original() {
        let none = Locals::default();
        let one = none.with(1, Some(Rc::new("one")));
        let two = one.with(2, Some(Rc::new("two"))).with(1, Some(Rc::new("uno")));
        let back = two.with(1, None).with(2, None);
        assert_eq!(
            [text(&none, 1), text(&one, 1), text(&two, 1), text(&back, 1)],
            [None, Some("one"), Some("uno"), None]
        );
        assert_eq!([text(&one, 2), text(&two, 2)], [None, Some("two")]);
        assert_eq!([none.is_empty(), one.is_empty(), back.is_empty()], [true, false, true]);
    }
}
