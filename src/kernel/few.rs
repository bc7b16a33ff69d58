//! A list that is nearly always empty or one long: what a task waits for, and who waits for a task.
//!
//! One entry needs no allocation. The order is that of pushing.

#[derive(Debug, Default)]
pub(crate) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        match self {
            Few::None => *self = Few::One(value),
            Few::One(_) => {
                let Few::One(first) = std::mem::take(self) else { unreachable!() };
                *self = Few::Many(vec![first, value]);
            }
            Few::Many(all) => all.push(value),
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(value) => std::slice::from_ref(value),
            Few::Many(all) => all,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(value) => std::slice::from_mut(value),
            Few::Many(all) => all,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Takes out the first entry that fits.
    pub(crate) fn remove(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.as_slice().iter().position(fits)?;
        match self {
            Few::Many(all) => Some(all.remove(place)),
            _ => std::mem::take(self).into_iter().next(),
        }
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Few::None => (None, Vec::new()),
            Few::One(value) => (Some(value), Vec::new()),
            Few::Many(all) => (None, all),
        };
        one.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_and_remove_keep_the_order() {
        let mut few = Few::default();
        assert_eq!((few.len(), few.remove(|_| true)), (0, None));
        for value in 1..=4 {
            few.push(value);
            assert_eq!(few.len(), value as usize);
        }
        assert_eq!(few.remove(|&value| value == 2), Some(2));
        assert_eq!(few.remove(|&value| value == 2), None);
        assert_eq!(few.as_slice(), [1, 3, 4]);
        few.as_mut_slice()[0] = 7;
        assert_eq!(few.into_iter().collect::<Vec<_>>(), [7, 3, 4]);
    }

    #[test]
    fn one_is_removed_whole() {
        let mut few = Few::default();
        few.push("a");
        assert_eq!(few.remove(|_| true), Some("a"));
        assert_eq!(few.len(), 0);
    }
}
