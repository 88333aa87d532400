//! A plot's sheet: an SVG in memory, with what all plots have in common.
//!
//! Drawn at twice its size, since the drawing library's coordinates are whole pixels; text stays text.

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Units of the drawing for each pixel of the plot.
pub const FINE: i32 = 2;

/// Width of every plot, in pixels.
pub const WIDTH: i32 = 800;

/// Height of a plot that needs no more, in pixels.
pub const HEIGHT: i32 = 500;

/// Letters of axes and legends, in pixels.
pub const SMALL: i32 = 13;

/// Text, axes.
pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);

/// Lines that help the eye.
pub const FAINT: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// Colours that people of every colour vision tell apart (Okabe and Ito, 2008); grey for the one that
/// is too light on white.
pub const PALETTE: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x88, 0x88, 0x88),
];

/// A part of a sheet.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What drawing comes to; into memory it never fails.
pub type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Where a text stands relative to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Left,
    /// Its middle is there.
    Middle,
    /// It ends there.
    Right,
}

/// An SVG of `WIDTH` x `height` pixels with this title, drawn by `fill` on what is below the title.
pub fn sheet(title: &str, height: i32, fill: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let (width, fine_height) = (WIDTH * FINE, height * FINE);
    {
        let backend = SVGBackend::with_string(&mut svg, (width as u32, fine_height as u32));
        let root = backend.into_drawing_area();
        let drawn = root.fill(&WHITE).and_then(|()| {
            let style = letters(SMALL + 3).color(&INK);
            root.draw(&Text::new(shorten(title, 90), fine(16, 14), style))?;
            fill(&root.margin(38 * FINE, 0, 0, 0))?;
            root.present()
        });
        drawn.expect("invariant: drawing into memory never fails");
    }
    let head = format!("<svg width=\"{width}\" height=\"{fine_height}\"");
    let title = escaped(&printable(title));
    let new = format!("<svg role=\"img\" width=\"{WIDTH}\" height=\"{height}\"");
    let svg = svg.replacen(&head, &new, 1);
    svg.replacen(">\n", &format!(">\n<title>{title}</title>\n"), 1)
}

/// A place in pixels as the drawing has it.
pub fn fine(x: i32, y: i32) -> (i32, i32) {
    (x * FINE, y * FINE)
}

/// Letters of `size` pixels.
pub fn letters(size: i32) -> TextStyle<'static> {
    // The library takes its own size to be 1.24 times that of the letters.
    ("sans-serif", f64::from(size * FINE) * 1.24).into_font().into()
}

/// Writes `text` at a place in pixels, its middle at that height.
pub fn write(area: &Area<'_>, text: &str, (x, y): (i32, i32), anchor: Anchor, size: i32) -> Drawn {
    let horizontal = match anchor {
        Anchor::Left => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::Right => HPos::Right,
    };
    let style = letters(size).color(&INK).pos(Pos::new(horizontal, VPos::Center));
    area.draw(&Text::new(printable(text), fine(x, y), style))
}

/// A line from place to place, in pixels.
pub fn rule(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
    let points = [fine(from.0, from.1), fine(to.0, to.1)];
    area.draw(&PathElement::new(points, colour.stroke_width(FINE as u32)))
}

/// Without characters that XML has no place for, as one line.
pub fn printable(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    line.chars().map(|c| if forbidden(c) { '\u{fffd}' } else { c }).collect()
}

/// The same, cut at so many columns of a terminal, which wide letters take two of.
pub fn shorten(text: &str, columns: usize) -> String {
    console::truncate_str(&printable(text), columns, "…").into_owned()
}

/// The same in at most two lines of so many columns, broken between words where there are any.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    // What is beyond is never shown, and would only take time.
    let text = shorten(text, 3 * columns);
    let width = console::measure_text_width;
    if width(&text) <= columns {
        return vec![text];
    }
    let fits = |end: &usize| width(&text[..*end]) <= columns;
    let spaces = text.match_indices(' ').map(|(at, _)| at).rfind(fits);
    let letters = || text.char_indices().map(|(at, _)| at).rfind(fits);
    // A line of a few letters before a long word would waste the other one.
    let word = spaces.filter(|at| 3 * width(&text[..*at]) > columns);
    let (first, rest) = text.split_at(word.or_else(letters).unwrap_or_default());
    vec![first.to_owned(), shorten(rest.trim_start(), columns)]
}

/// Pixels that a text takes, roughly: letters differ from font to font.
pub fn width_of(text: &str, size: i32) -> i32 {
    (console::measure_text_width(text) as f64 * f64::from(size) * 0.56).ceil() as i32
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_between_words_and_cut() {
        assert_eq!(wrapped("short", 10), ["short"]);
        assert_eq!(wrapped("one two three four", 10), ["one two", "three four"]);
        assert_eq!(wrapped("one two three four five", 10), ["one two", "three fou…"]);
        assert_eq!(wrapped("a=[1,2,3,4,5,6,7]", 10), ["a=[1,2,3,4", ",5,6,7]"]);
        assert_eq!(wrapped("活性化活性化 b", 10), ["活性化活性", "化 b"]);
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(printable("a\u{0}b\n c\u{ffff}"), "a\u{fffd}b c\u{fffd}");
        let svg = sheet("a < b", 100, |area| write(area, "<&>", (0, 0), Anchor::Left, SMALL));
        assert!(svg.contains("<title>a &lt; b</title>") && svg.contains("&lt;&amp;&gt;"), "{svg}");
        assert!(svg.contains("width=\"800\" height=\"100\" viewBox=\"0 0 1600 200\""), "{svg}");
    }
}
