//! Walks the tree and writes the text.

use std::sync::Arc;

use super::functions;
use super::parse::{Call, Command, Node, Operand, Pipe, Placed};
use super::value::{Fault, Value};
use super::{Host, Template};
use crate::units::quote;

/// A template may not write more; a loop in a loop would otherwise fill memory.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// So many turns of all loops of a template together; a loop in a loop would otherwise never end.
const MAX_TURNS: usize = 100_000;
/// Templates that call each other deeper are stopped.
const MAX_CALLS: usize = 100;

struct State<'a> {
    template: &'a Template,
    host: &'a dyn Host,
    out: String,
    variables: Vec<(String, Value)>,
    calls: usize,
    turns: usize,
}

enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) fn run(template: &Template, host: &dyn Host) -> Result<String, String> {
    let data = host.data();
    let mut state = State {
        template,
        host,
        out: String::with_capacity(64),
        variables: vec![("$".to_owned(), data.clone())],
        calls: 0,
        turns: 0,
    };
    state.nodes(&template.tree.root, &data)?;
    Ok(state.out)
}

impl State<'_> {
    fn error(&self, command: &Command, what: &str) -> String {
        self.error_at(command.at, &command.show(), what)
    }

    fn error_of(&self, placed: &Placed, what: &str) -> String {
        self.error_at(placed.at, &placed.operand.show(), what)
    }

    fn error_at(&self, offset: usize, shown: &str, what: &str) -> String {
        let name = &self.template.name;
        let (line, column) = self.template.tree.place(offset);
        format!("template: {name}:{line}:{column}: executing {name:?} at <{shown}>: {what}")
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.declared.is_empty() {
                        self.print(&value)?;
                    }
                }
                Node::If(pipe, then, otherwise) | Node::With(pipe, then, otherwise) => {
                    let scope = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    let inner = if matches!(node, Node::With(..)) {
                        &value
                    } else {
                        dot
                    };
                    let flow = if value.is_true() {
                        self.nodes(then, inner)
                    } else {
                        self.nodes(otherwise, dot)
                    }?;
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::Next) {
                        return Ok(flow);
                    }
                }
                Node::Range(pipe, body, otherwise) => {
                    let scope = self.variables.len();
                    let flow = self.range(pipe, body, otherwise, dot)?;
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::Next) {
                        return Ok(flow);
                    }
                }
                Node::Call(call) => self.call(call, dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > MAX_OUTPUT_BYTES {
            return Err("template output is too large".to_owned());
        }
        self.out.push_str(text);
        Ok(())
    }

    fn print(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Text(text) => self.write(text),
            Value::Data => {
                let members = self.host.members();
                let items: Vec<_> = members.iter().map(|(n, v)| format!("{n}:{v}")).collect();
                self.write(&format!("map[{}]", items.join(" ")))
            }
            other => self.write(&other.show()),
        }
    }

    fn call(&mut self, call: &Call, dot: &Value) -> Result<(), String> {
        let template = self.template;
        let Some(nodes) = template.tree.defined.get(&call.name) else {
            let what = format!("template {} not defined", quote(&call.name));
            return Err(self.error_at(call.at, &call.show(), &what));
        };
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err("exceeded maximum template depth".to_owned());
        }
        let value = match &call.argument {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        self.nodes(nodes, &value)?;
        self.variables = outer;
        self.calls -= 1;
        Ok(())
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, String> {
        let value = self.pipe_value(pipe, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| (Value::Int(i as i64), item.clone()))
                .collect(),
            Value::Map(map) => map
                .iter()
                .map(|(k, v)| (Value::Text(k.clone()), v.clone()))
                .collect(),
            Value::Texts(texts) => texts
                .iter()
                .map(|(k, v)| (Value::Text(k.clone()), Value::Text(v.clone())))
                .collect(),
            Value::Data => {
                let members = self.host.members().into_iter();
                members
                    .map(|(name, value)| (Value::Text(name), Value::Text(value)))
                    .collect()
            }
            Value::Int(n) => (0..n.clamp(0, 100_000))
                .map(|i| (Value::Int(i), Value::Int(i)))
                .collect(),
            Value::Nil => Vec::new(),
            other => {
                let what = format!("range can't iterate over {}", other.show());
                return Err(self.error(&pipe.commands[0], &what));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let scope = self.variables.len();
        for (key, item) in items {
            self.turns += 1;
            if self.turns > MAX_TURNS {
                return Err("template runs too long".to_owned());
            }
            match pipe.declared.as_slice() {
                [] => {}
                [name] => self.bind(name, item.clone(), pipe.assigns),
                [first, second, ..] => {
                    self.bind(first, key, pipe.assigns);
                    self.bind(second, item.clone(), pipe.assigns);
                }
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn bind(&mut self, name: &str, value: Value, assigns: bool) {
        if assigns && let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let value = self.pipe_value(pipe, dot)?;
        for name in &pipe.declared {
            self.bind(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn pipe_value(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for command in &pipe.commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.operands.split_first() else {
            return Ok(Value::Nil);
        };
        match &first.operand {
            Operand::Function(name) => {
                // `and` and `or` evaluate only what they need.
                if matches!(name.as_str(), "and" | "or") {
                    return self.short_circuit(name == "and", command, rest, dot, piped);
                }
                let mut arguments = self.arguments(rest, dot)?;
                arguments.extend(piped);
                self.call_function(name, &arguments)
                    .map_err(|fault| self.explain(fault, name, command, rest, &arguments))
            }
            Operand::Chain(_, fields)
            | Operand::Field(fields)
            | Operand::Variable(_, fields)
            | Operand::Pipe(_, fields)
                if !fields.is_empty() && (!rest.is_empty() || piped.is_some()) =>
            {
                let mut arguments = self.arguments(rest, dot)?;
                arguments.extend(piped);
                self.method(first, fields, &arguments, dot)
            }
            operand if !rest.is_empty() || piped.is_some() => Err(self.error(
                command,
                &format!("can't give argument to non-function {}", operand.show()),
            )),
            _ => self.operand(first, dot),
        }
    }

    fn call_function(&self, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        if functions::NAMES.contains(&name) {
            return functions::call(self.host, name, arguments);
        }
        self.host.call(name, arguments)
    }

    /// What went wrong with a call, in Go's words and where Go sees it.
    fn explain(
        &self,
        fault: Fault,
        name: &str,
        command: &Command,
        written: &[Placed],
        arguments: &[Value],
    ) -> String {
        match fault {
            Fault::Call(what) => self.error(command, &format!("error calling {name}: {what}")),
            Fault::Count { want, at_least } => {
                let least = if at_least { "at least " } else { "" };
                let got = arguments.len();
                let what = format!("wrong number of args for {name}: want {least}{want} got {got}");
                // Go is still at the function then.
                match command.operands.first() {
                    Some(function) => self.error_of(function, &what),
                    None => self.error(command, &what),
                }
            }
            Fault::Type { at, expected } => {
                let value = arguments.get(at).unwrap_or(&Value::Nil);
                // A piped value is looked at when Go has just been at the last written one.
                let place = written.get(at).or(written.last());
                let literal = written.get(at).filter(|p| p.operand.is_literal());
                let what = match (literal, value) {
                    (Some(literal), _) => {
                        let literal = literal.operand.show();
                        match expected {
                            "string" => format!("expected string; found {literal}"),
                            "int" => format!("expected integer; found {literal}"),
                            "float64" => format!("expected float; found {literal}"),
                            other => format!("can't handle {literal} for arg of type {other}"),
                        }
                    }
                    (None, Value::Nil) => format!("invalid value; expected {expected}"),
                    (None, value) => format!(
                        "wrong type for value; expected {expected}; got {}",
                        value.type_name()
                    ),
                };
                match place.or(command.operands.first()) {
                    Some(place) => self.error_of(place, &what),
                    None => self.error(command, &what),
                }
            }
        }
    }

    fn arguments(&mut self, operands: &[Placed], dot: &Value) -> Result<Vec<Value>, String> {
        operands.iter().map(|o| self.operand(o, dot)).collect()
    }

    fn short_circuit(
        &mut self,
        and: bool,
        command: &Command,
        operands: &[Placed],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if value.is_true() != and {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| {
            let name = if and { "and" } else { "or" };
            self.error(
                command,
                &format!("wrong number of args for {name}: want at least 1 got 0"),
            )
        })
    }

    fn method(
        &mut self,
        placed: &Placed,
        fields: &[String],
        arguments: &[Value],
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((method, path)) = fields.split_last() else {
            return Ok(Value::Nil);
        };
        let start = match &placed.operand {
            Operand::Chain(name, _) => self.function(placed, name)?,
            Operand::Variable(name, _) => self.variable(name),
            Operand::Pipe(pipe, _) => self.pipe(pipe, dot)?,
            _ => dot.clone(),
        };
        let receiver = self.walk(placed, start, path)?;
        match (&receiver, arguments) {
            (Value::Time(time), [Value::Text(layout)]) if method == "Format" => {
                Ok(Value::Text(time.format(layout)))
            }
            (Value::Data | Value::Texts(_) | Value::Map(_), _) => {
                let what = format!("{method} is not a method but has arguments");
                Err(self.error_of(placed, &what))
            }
            (receiver, _) => {
                // A field that does not exist is the first thing that Go notices.
                self.walk(placed, (*receiver).clone(), &fields[path.len()..])?;
                let what = format!("{method} has arguments but cannot be invoked as function");
                Err(self.error_of(placed, &what))
            }
        }
    }

    fn function(&self, placed: &Placed, name: &str) -> Result<Value, String> {
        self.call_function(name, &[]).map_err(|fault| match fault {
            Fault::Call(what) => self.error_of(placed, &format!("error calling {name}: {what}")),
            Fault::Count { want, .. } => {
                let what = format!("wrong number of args for {name}: want {want} got 0");
                self.error_of(placed, &what)
            }
            Fault::Type { expected, .. } => {
                self.error_of(placed, &format!("invalid value; expected {expected}"))
            }
        })
    }

    fn variable(&self, name: &str) -> Value {
        self.variables
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn operand(&mut self, placed: &Placed, dot: &Value) -> Result<Value, String> {
        Ok(match &placed.operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(b) => Value::Bool(*b),
            Operand::Int(i) => Value::Int(*i),
            Operand::Float(f) => Value::Float(*f),
            Operand::Text(_, text) => Value::Text(text.clone()),
            Operand::Field(fields) => self.walk(placed, dot.clone(), fields)?,
            Operand::Variable(name, fields) => {
                let value = self.variable(name);
                self.walk(placed, value, fields)?
            }
            Operand::Function(name) => self.function(placed, name)?,
            Operand::Chain(name, fields) => {
                let value = self.function(placed, name)?;
                self.walk(placed, value, fields)?
            }
            Operand::Pipe(pipe, fields) => {
                let value = self.pipe(pipe, dot)?;
                self.walk(placed, value, fields)?
            }
        })
    }

    fn walk(&self, placed: &Placed, mut value: Value, fields: &[String]) -> Result<Value, String> {
        for field in fields {
            let unknown = |type_name: &str| {
                let what = format!("can't evaluate field {field} in type {type_name}");
                self.error_of(placed, &what)
            };
            value = match &value {
                Value::Data => Value::Text(self.host.member(field)),
                Value::Texts(texts) => Value::Text(texts.get(field).cloned().unwrap_or_default()),
                Value::Map(map) => Arc::clone(map).get(field).cloned().unwrap_or(Value::Nil),
                Value::Record(record) => record
                    .field(field)
                    .ok_or_else(|| unknown(record.type_name()))?,
                Value::Time(time) => time.method(field).ok_or_else(|| unknown("time.Time"))?,
                Value::Duration(ns) => {
                    duration_method(*ns, field).ok_or_else(|| unknown("time.Duration"))?
                }
                Value::Nil => {
                    let what = format!("nil pointer evaluating interface {{}}.{field}");
                    return Err(self.error_of(placed, &what));
                }
                other => return Err(unknown(other.type_name())),
            };
        }
        Ok(value)
    }
}

/// Methods of Go's duration without arguments.
fn duration_method(ns: i64, name: &str) -> Option<Value> {
    Some(match name {
        "Nanoseconds" => Value::Int(ns),
        "Microseconds" => Value::Int(ns / 1_000),
        "Milliseconds" => Value::Int(ns / 1_000_000),
        "Seconds" => Value::Float(ns as f64 / 1e9),
        "Minutes" => Value::Float(ns as f64 / 6e10),
        "Hours" => Value::Float(ns as f64 / 3.6e12),
        "Abs" => Value::Duration(ns.saturating_abs()),
        "String" => Value::Text(crate::units::format_go_duration(ns)),
        _ => return None,
    })
}
