//! Selectors with every kind of matcher and modifier.

use super::Generator;
use crate::differential::family::{FAMILIES, Family, Shape};
use crate::differential::tree::{Expr, Modifiers, Selector};

/// How often a selection is made from a family of a shape.
fn weight(family: &Family) -> usize {
    match family.shape {
        Shape::Counter | Shape::Gauge => 4,
        Shape::Gappy | Shape::Partial | Shape::Native | Shape::NativeFloat => 3,
        Shape::Info | Shape::Odd | Shape::NativeCustom | Shape::Mixed | Shape::Buckets => 2,
        Shape::BrokenBuckets => 1,
    }
}

impl Generator<'_> {
    pub(super) fn instant(&mut self) -> Expr {
        let mut selector = self.selector(&|_| true);
        if self.dice.chance(2) {
            selector.modifiers.extended = Some("smoothed");
        }
        Expr::Instant(selector)
    }

    /// An instant selector of families of some shapes.
    pub(super) fn instant_of(&mut self, shapes: &[Shape]) -> Expr {
        Expr::Instant(self.selector(&|shape| shapes.contains(&shape)))
    }

    pub(super) fn range(&mut self) -> Expr {
        let mut selector = self.selector(&|_| true);
        if self.dice.chance(12) {
            selector.modifiers.extended = Some(*self.dice.pick(&["anchored", "smoothed"]));
        }
        let range = self.duration();
        Expr::Range { selector, range }
    }

    /// A range selector of families of some shapes.
    pub(super) fn range_of(&mut self, shapes: &[Shape]) -> Expr {
        let selector = self.selector(&|shape| shapes.contains(&shape));
        let range = self.duration();
        Expr::Range { selector, range }
    }

    /// What `info` takes in second place: matchers for the labels to add, maybe with the name of the info metric.
    pub(super) fn info_selector(&mut self) -> Expr {
        let matchers = [
            ("version", "=~", ".+"),
            ("version", "=", "1.0"),
            ("region", "=", "north"),
            ("region", "!=", "north"),
            ("__name__", "=", "build_info"),
            ("__name__", "=~", ".*_info"),
            ("__name__", "!=", "target_info"),
            ("missing", "=~", ".*"),
        ];
        let mut selector = Selector::default();
        for _ in 0..=self.dice.below(2) {
            let (label, op, value) = *self.dice.pick(&matchers);
            selector
                .matchers
                .push((label.to_owned(), op, value.to_owned()));
        }
        if self.dice.chance(10) {
            selector.modifiers = self.modifiers();
        }
        Expr::Instant(selector)
    }

    /// Most often a family by its name, with up to two matchers.
    fn selector(&mut self, takes: &dyn Fn(Shape) -> bool) -> Selector {
        let weights: Vec<usize> = FAMILIES
            .iter()
            .map(|family| {
                if takes(family.shape) {
                    weight(family)
                } else {
                    0
                }
            })
            .collect();
        let family = &FAMILIES[self.dice.weighed(&weights)];
        let is_plain = family
            .name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let mut selector = Selector {
            name: Some(family.name.to_owned()),
            quoted: !is_plain || self.dice.chance(5),
            modifiers: self.modifiers(),
            ..Selector::default()
        };
        for _ in 0..*self.dice.pick(&[0, 0, 1, 1, 2]) {
            let matcher = self.matcher(family);
            selector.matchers.push(matcher);
        }
        match self.dice.below(60) {
            0 => {
                selector.name = None;
                selector.quoted = false;
                let names = [
                    "level|temperature",
                    "native_.*",
                    ".*_total",
                    "no_such",
                    "l.*",
                ];
                let names = (*self.dice.pick(&names)).to_owned();
                selector
                    .matchers
                    .insert(0, ("__name__".to_owned(), "=~", names));
            }
            1 => selector.name = Some("no_such_metric".to_owned()),
            // Without a name, and maybe without anything that a selector must have.
            2 => selector.name = None,
            _ => {}
        }
        selector
    }

    fn matcher(&mut self, family: &Family) -> (String, &'static str, String) {
        if self.dice.chance(8) {
            let op = *self.dice.pick(&["=", "!=", "=~", "!~"]);
            let value = if op.ends_with('~') {
                self.regex()
            } else {
                self.label_value()
            };
            return (self.label_name(), op, value);
        }
        let (label, values) = *self.dice.pick(family.labels);
        let value = (*self.dice.pick(values)).to_owned();
        let plain = |value: &str| {
            value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b':')
        };
        match self.dice.below(6) {
            0 => (label.to_owned(), "!=", value),
            1 => (label.to_owned(), "=~", self.regex()),
            2 => (
                label.to_owned(),
                "!~",
                if plain(&value) { value } else { self.regex() },
            ),
            3 if plain(&value) => (
                label.to_owned(),
                "=~",
                format!("{value}|{}", self.label_value()),
            ),
            _ => (label.to_owned(), "=", value),
        }
    }

    pub(super) fn modifiers(&mut self) -> Modifiers {
        let offset = self.dice.chance(12).then(|| self.offset());
        let at = self.dice.chance(9).then(|| self.at());
        let at_first = offset.is_some() && at.is_some() && self.dice.chance(50);
        Modifiers {
            extended: None,
            offset,
            at,
            at_first,
        }
    }
}
