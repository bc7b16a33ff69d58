//! A histogram of durations that costs little for a task that has had few steps.
//!
//! It has the buckets of an HdrHistogram with two significant digits: a bucket is at most one part
//! in 128 wide. Such a histogram is an array of thousands of numbers. Here, only the buckets that
//! are not empty are stored.

use console_api::tasks::DurationHistogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use std::time::Duration;

/// Number of bits of a duration, in nanoseconds, that its bucket keeps.
const KEPT: u32 = 8;

#[derive(Clone, Default, Debug)]
pub(crate) struct Histogram {
    /// The lowest value of a bucket, and the number of durations in it. In ascending order.
    buckets: Vec<(u64, u64)>,
}

fn bucket(nanoseconds: u64) -> u64 {
    let dropped = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(KEPT);
    nanoseconds >> dropped << dropped
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        // An HdrHistogram begins at 1.
        let bucket = bucket(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1));
        match self.buckets.binary_search_by_key(&bucket, |&(lowest, _)| lowest) {
            Ok(place) => self.buckets[place].1 += 1,
            Err(place) => self.buckets.insert(place, (bucket, 1)),
        }
    }

    /// The histogram as the console reads it.
    pub(crate) fn to_wire(&self) -> DurationHistogram {
        let highest = self.buckets.last().map_or(2, |&(lowest, _)| lowest.max(2));
        let mut raw_histogram = Vec::new();
        let mut full = hdrhistogram::Histogram::<u64>::new_with_bounds(1, highest, 2).expect("two digits are allowed");
        for &(lowest, count) in &self.buckets {
            full.record_n(lowest, count).expect("the bounds contain the value");
        }
        V2Serializer::new().serialize(&full, &mut raw_histogram).expect("a vector can be written to");
        DurationHistogram { raw_histogram, max_value: highest, high_outliers: 0, highest_outlier: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    fn read(histogram: &Histogram) -> hdrhistogram::Histogram<u64> {
        Deserializer::new().deserialize(&mut &histogram.to_wire().raw_histogram[..]).unwrap()
    }

    #[test]
    fn hold_what_an_hdr_histogram_holds() {
        let (mut ours, mut theirs) = (Histogram::default(), hdrhistogram::Histogram::<u64>::new(2).unwrap());
        let mut random = 1_u64;
        for _ in 0..5000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = (random >> 20) >> (random % 44);
            ours.record(Duration::from_nanos(value));
            theirs.record(value.max(1)).unwrap();
        }
        let wire = read(&ours);
        assert_eq!(wire.len(), 5000);
        for percent in [0.0, 10.0, 50.0, 90.0, 99.0, 100.0] {
            let [ours, theirs] = [&wire, &theirs].map(|histogram| histogram.value_at_percentile(percent));
            assert!(wire.equivalent(ours, theirs), "{percent} %: {ours}, but {theirs}");
        }
    }

    #[test]
    fn write_an_empty_one_and_the_longest_durations() {
        let mut histogram = Histogram::default();
        assert_eq!(read(&histogram).len(), 0);
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        let wire = read(&histogram);
        assert_eq!((wire.len(), wire.min()), (2, 1));
    }
}
