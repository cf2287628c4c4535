//! How a figure is written, for those who print tables.

/// Three digits that count.
pub(crate) fn digits(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        number if number < 0.001 => "< 0.001".into(),
        number if number < 1.0 => format!("{number:.3}"),
        number if number < 10.0 => format!("{number:.2}"),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}
