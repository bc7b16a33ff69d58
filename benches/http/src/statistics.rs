//! Medians and spreads. They do not depend on a unit.

/// The middle value, or the mean of the two middle values.
///
/// # Panics
///
/// Panics if there is no value.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Half of the interquartile range, as a part of the median.
pub(crate) fn spread(values: &[f64]) -> f64 {
    (quantile(values, 0.75) - quantile(values, 0.25)) / 2.0 / median(values)
}

/// Interpolates linearly if the quantile is between two values.
fn quantile(values: &[f64], part: f64) -> f64 {
    assert!(!values.is_empty(), "no values have no median; take a sample first");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::{median, spread};

    #[test]
    fn the_middle_counts() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn the_middle_half_spreads() {
        assert_eq!(spread(&[1.0, 3.0, 4.0, 5.0, 100.0]), 0.25);
        assert_eq!(spread(&[7.0]), 0.0);
    }
}
