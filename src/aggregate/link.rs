//! What summing gradients costs, as a model of the link between ranks.
//!
//! A ring all-reduce of B bytes over N ranks sends 2 (N - 1) messages one after another, and 2 (N - 1) / N
//! B bytes over each link (Patarasuk and Yuan, 2009):
//!
//! ```text
//! seconds = 2 (N - 1) latency + 2 (N - 1) / N B / bandwidth
//! ```
//!
//! In: measured seconds. Out: latency and bandwidth by least squares, and what follows for other
//! numbers of ranks. Neither may be negative: where the best fit makes one so, it is 0 (of the bandwidth,
//! unlimited), and the other is fitted alone.

/// Ranks beyond which nothing is looked for.
pub const MOST_RANKS: u32 = 4096;

/// A sum that was timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Ranks.
    pub ranks: u32,
    /// Bytes that each gave.
    pub bytes: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Point {
    /// What latency and the inverse of the bandwidth are multiplied with.
    fn terms(self) -> [f64; 2] {
        let ranks = f64::from(self.ranks);
        [2.0 * (ranks - 1.0), 2.0 * (ranks - 1.0) / ranks * self.bytes]
    }
}

/// The link, as fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Seconds of a message, however short.
    pub latency_s: f64,
    /// Seconds of a byte: the inverse of the bandwidth.
    pub byte_s: f64,
    /// Sums that it was fitted to.
    pub points: usize,
    /// Share of their variance that it explains; at most 1, negative where it is worse than their
    /// mean. `None` where they do not vary.
    pub r_squared: Option<f64>,
    /// Root mean square of what it leaves, in seconds, with two degrees of freedom gone; from three
    /// points on.
    pub rmse_s: Option<f64>,
}

impl Link {
    /// Fits a link to sums of different sizes or over different numbers of ranks; `None` where they
    /// cannot tell latency from bandwidth.
    pub fn fit(points: &[Point]) -> Option<Self> {
        let sum = |of: &dyn Fn([f64; 2], f64) -> f64| -> f64 {
            points.iter().map(|point| of(point.terms(), point.seconds)).sum()
        };
        let [aa, ab, bb] =
            [sum(&|[a, _], _| a * a), sum(&|[a, b], _| a * b), sum(&|[_, b], _| b * b)];
        let [at, bt] = [sum(&|[a, _], t| a * t), sum(&|[_, b], t| b * t)];
        let determinant = aa * bb - ab * ab;
        // Of terms that are multiples of each other only rounding is left.
        if determinant.is_nan() || determinant <= 1e-12 * aa * bb {
            return None;
        }
        let both = [(at * bb - bt * ab) / determinant, (bt * aa - at * ab) / determinant];
        let [latency_s, byte_s] = match both {
            [latency, _] if latency < 0.0 => [0.0, (bt / bb).max(0.0)],
            [_, byte] if byte < 0.0 => [(at / aa).max(0.0), 0.0],
            both => both,
        };
        let count = points.len() as f64;
        let mean = points.iter().map(|point| point.seconds).sum::<f64>() / count;
        let link = Self { latency_s, byte_s, points: points.len(), r_squared: None, rmse_s: None };
        let left: f64 = points
            .iter()
            .map(|point| (point.seconds - link.seconds(point.ranks, point.bytes)).powi(2))
            .sum();
        let total: f64 = points.iter().map(|point| (point.seconds - mean).powi(2)).sum();
        Some(Self {
            r_squared: (total > 0.0).then(|| 1.0 - left / total),
            rmse_s: (points.len() > 2).then(|| (left / (count - 2.0)).sqrt()),
            ..link
        })
    }

    /// Seconds of a sum of so many bytes over so many ranks.
    pub fn seconds(&self, ranks: u32, bytes: f64) -> f64 {
        let [messages, share] = Point { ranks, bytes, seconds: 0.0 }.terms();
        messages * self.latency_s + share * self.byte_s
    }

    /// Bytes a second; `None` where the sums did not depend on their size.
    pub fn bandwidth(&self) -> Option<f64> {
        (self.byte_s > 0.0).then(|| 1.0 / self.byte_s)
    }
}

/// Does the batch stay as it is when there are more ranks, or does it grow with them?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scaling {
    /// The batch is shared.
    Strong,
    /// Every rank has a batch.
    Weak,
}

impl Scaling {
    /// As CSV and terminal spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Weak => "weak",
        }
    }
}

/// Training on more ranks, as a link forecasts it. Nothing of the communication is taken to be hidden
/// behind computing, and every rank to have a device to itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// The link.
    pub link: Link,
    /// What is scaled.
    pub scaling: Scaling,
    /// Seconds of a step on one device.
    pub step_s: f64,
    /// Bytes of gradients.
    pub bytes: f64,
}

impl Outlook {
    /// Seconds of a step on so many ranks.
    pub fn step_s(&self, ranks: u32) -> f64 {
        let computing = match self.scaling {
            Scaling::Strong => self.step_s / f64::from(ranks),
            Scaling::Weak => self.step_s,
        };
        computing + self.link.seconds(ranks, self.bytes)
    }

    /// Images a second on so many ranks over those on one.
    pub fn speed_up(&self, ranks: u32) -> f64 {
        let images = match self.scaling {
            Scaling::Strong => 1.0,
            Scaling::Weak => f64::from(ranks),
        };
        images * self.step_s / self.step_s(ranks)
    }

    /// The same over the ranks.
    pub fn efficiency(&self, ranks: u32) -> f64 {
        self.speed_up(ranks) / f64::from(ranks)
    }

    /// The fewest ranks of which less than half is of use, up to [`MOST_RANKS`].
    pub fn below_half(&self) -> Option<u32> {
        (1..=MOST_RANKS).find(|ranks| self.efficiency(*ranks) < 0.5)
    }

    /// The ranks with the largest speed-up, beyond which more are slower; `None` where it grows up to
    /// [`MOST_RANKS`].
    pub fn best(&self) -> Option<u32> {
        let best = (1..=MOST_RANKS).max_by(|a, b| self.speed_up(*a).total_cmp(&self.speed_up(*b)));
        best.filter(|ranks| *ranks < MOST_RANKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn a_link_without_noise_is_found() {
        let truth =
            Link { latency_s: 2e-5, byte_s: 1e-9, points: 0, r_squared: None, rmse_s: None };
        let sizes = [(2, 1e6), (2, 4e6), (4, 1e6), (4, 16e6), (8, 2e6)];
        let points = sizes.map(|(ranks, bytes)| Point {
            ranks,
            bytes,
            seconds: truth.seconds(ranks, bytes),
        });
        let link = Link::fit(&points).unwrap();
        close(link.latency_s, 2e-5);
        close(link.bandwidth().unwrap(), 1e9);
        close(link.r_squared.unwrap(), 1.0);
        assert!(link.rmse_s.unwrap() < 1e-15);
        // By hand: 2 x 3 messages, and 2 x 3 / 4 of four million bytes.
        close(truth.seconds(4, 4e6), 6.0 * 2e-5 + 1.5 * 4e6 * 1e-9);
    }

    #[test]
    fn a_fit_with_noise_is_that_of_the_normal_equations() {
        // The normal equations of A = [[2 (n - 1), 2 (n - 1) / n b] for n, b, _ in data], solved in
        // rational numbers: Python's `fractions`.
        let data = [(2, 1e6, 1.5e-3), (2, 4e6, 4.2e-3), (4, 1e6, 2.4e-3), (4, 4e6, 7.5e-3)];
        let points = data.map(|(ranks, bytes, seconds)| Point { ranks, bytes, seconds });
        let link = Link::fit(&points).unwrap();
        close(link.latency_s, 0.000_166_451_612_903_225_8);
        close(link.byte_s, 1.045_161_290_322_580_7e-9);
        close(link.r_squared.unwrap(), 0.990_791_287_565_481_1);
        close(link.rmse_s.unwrap(), 0.000_311_396_438_540_141_1);
        assert_eq!(link.points, 4);
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_fitted_and_nothing_is_negative() {
        let point = |ranks, bytes, seconds| Point { ranks, bytes, seconds };
        assert_eq!(Link::fit(&[]), None);
        assert_eq!(Link::fit(&[point(2, 1e6, 1.0), point(2, 1e6, 2.0)]), None, "one size");
        let steep = Link::fit(&[point(2, 1e6, 1.0), point(2, 2e6, 3.0)]).unwrap();
        assert_eq!(steep.latency_s, 0.0);
        close(steep.byte_s, (1e6 * 1.0 + 2e6 * 3.0) / (1e12 + 4e12));
        let falling = Link::fit(&[point(2, 1e6, 3.0), point(2, 2e6, 1.0)]).unwrap();
        assert_eq!((falling.byte_s, falling.bandwidth(), falling.latency_s), (0.0, None, 1.0));
    }

    #[test]
    fn speed_up_saturates_where_messages_take_over() {
        let link = Link { latency_s: 1e-3, byte_s: 0.0, points: 2, r_squared: None, rmse_s: None };
        let outlook = |scaling| Outlook { link, scaling, step_s: 1.0, bytes: 1e6 };
        // step / n + 2 (n - 1) / 1000 is least at the root of 500, 22.4.
        let strong = outlook(Scaling::Strong);
        assert_eq!(strong.best(), Some(22));
        close(strong.speed_up(22), 1.0 / (1.0 / 22.0 + 0.042));
        // 1 / (1 + 2 n (n - 1) / 1000) falls below a half where n (n - 1) exceeds 500.
        assert_eq!(strong.below_half(), Some(23));
        let weak = outlook(Scaling::Weak);
        assert_eq!((weak.best(), weak.below_half()), (None, Some(502)));
        close(weak.efficiency(501), 0.5);
        close(strong.speed_up(1), 1.0);
    }
}
