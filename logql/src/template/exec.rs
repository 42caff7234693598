//! Walks the tree and writes the text.

use std::sync::Arc;

use super::Template;
use super::functions;
use super::parse::{Command, Node, Operand, Pipe};
use super::value::Value;
use crate::labels::LabelBuilder;

/// A template may not write more; a loop in a loop would otherwise fill memory.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// So many turns of all loops of a template together; a loop in a loop would otherwise never end.
const MAX_TURNS: usize = 100_000;
/// Templates that call each other deeper are stopped.
const MAX_CALLS: usize = 100;

/// Everything that functions may look at.
pub(super) struct Context<'a> {
    pub(super) template: &'a Template,
    pub(super) t_ns: i64,
    pub(super) now_ns: i64,
    pub(super) line: &'a str,
    pub(super) labels: &'a LabelBuilder,
}

struct State<'a> {
    context: Context<'a>,
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

pub(super) fn run(
    template: &Template,
    t_ns: i64,
    line: &str,
    labels: &LabelBuilder,
) -> Result<String, String> {
    let mut state = State {
        context: Context {
            template,
            t_ns,
            now_ns: template.now_ns,
            line,
            labels,
        },
        out: String::with_capacity(64),
        variables: vec![("$".to_owned(), Value::Labels)],
        calls: 0,
        turns: 0,
    };
    state.nodes(&template.tree.root, &Value::Labels)?;
    Ok(state.out)
}

impl State<'_> {
    fn error(&self, command: &Command, what: &str) -> String {
        let name = self.context.template.name;
        let (line, column) = command.at;
        format!(
            "template: {name}:{line}:{column}: executing \"{name}\" at <{}>: {what}",
            command.show()
        )
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
                Node::Call(name, argument) => self.call(name, argument.as_ref(), dot)?,
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
            Value::Labels => {
                let set = self
                    .context
                    .labels
                    .iter()
                    .collect::<crate::labels::LabelSet>();
                let items: Vec<_> = set.iter().map(|(n, v)| format!("{n}:{v}")).collect();
                self.write(&format!("map[{}]", items.join(" ")))
            }
            other => self.write(&other.show()),
        }
    }

    fn call(&mut self, name: &str, argument: Option<&Pipe>, dot: &Value) -> Result<(), String> {
        let template = self.context.template;
        let Some(nodes) = template.tree.defined.get(name) else {
            return Err(format!(
                "template: {}: template \"{name}\" not defined",
                template.name
            ));
        };
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err("exceeded maximum template depth".to_owned());
        }
        let value = match argument {
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
            Value::Labels => {
                let set = self
                    .context
                    .labels
                    .iter()
                    .collect::<crate::labels::LabelSet>();
                set.iter()
                    .map(|(n, v)| (Value::Text(n.to_owned()), Value::Text(v.to_owned())))
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
        let (first, rest) = command
            .operands
            .split_first()
            .unwrap_or((&Operand::Nil, &[]));
        match first {
            Operand::Function(name) => {
                // `and` and `or` evaluate only what they need.
                if matches!(name.as_str(), "and" | "or") {
                    return self.short_circuit(name == "and", command, rest, dot, piped);
                }
                let mut arguments = self.arguments(command, rest, dot)?;
                arguments.extend(piped);
                functions::call(&self.context, name, &arguments).map_err(|e| match e {
                    functions::Fault::Call(what) => {
                        self.error(command, &format!("error calling {name}: {what}"))
                    }
                    functions::Fault::Arguments(what) => self.error(command, &what),
                })
            }
            Operand::Chain(_, fields) | Operand::Field(fields) | Operand::Variable(_, fields)
                if !fields.is_empty() && (!rest.is_empty() || piped.is_some()) =>
            {
                let mut arguments = self.arguments(command, rest, dot)?;
                arguments.extend(piped);
                self.method(command, first, fields, &arguments, dot)
            }
            _ if !rest.is_empty() || piped.is_some() => Err(self.error(
                command,
                &format!("can't give argument to non-function {}", first.show()),
            )),
            _ => self.operand(command, first, dot),
        }
    }

    fn arguments(
        &mut self,
        command: &Command,
        operands: &[Operand],
        dot: &Value,
    ) -> Result<Vec<Value>, String> {
        operands
            .iter()
            .map(|o| self.operand(command, o, dot))
            .collect()
    }

    fn short_circuit(
        &mut self,
        and: bool,
        command: &Command,
        operands: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(command, operand, dot)?;
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
        command: &Command,
        operand: &Operand,
        fields: &[String],
        arguments: &[Value],
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((method, path)) = fields.split_last() else {
            return Ok(Value::Nil);
        };
        let start = match operand {
            Operand::Chain(name, _) => self.function(command, name)?,
            Operand::Variable(name, _) => self.variable(name),
            _ => dot.clone(),
        };
        let receiver = self.walk(command, start, path)?;
        match (&receiver, arguments) {
            (Value::Time(time), [Value::Text(layout)]) if method == "Format" => {
                Ok(Value::Text(time.format(layout)))
            }
            _ => {
                let what = format!("{method} has arguments but cannot be invoked as function");
                Err(self.error(command, &what))
            }
        }
    }

    fn function(&mut self, command: &Command, name: &str) -> Result<Value, String> {
        functions::call(&self.context, name, &[]).map_err(|e| match e {
            functions::Fault::Call(what) => {
                self.error(command, &format!("error calling {name}: {what}"))
            }
            functions::Fault::Arguments(what) => self.error(command, &what),
        })
    }

    fn variable(&self, name: &str) -> Value {
        self.variables
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn operand(
        &mut self,
        command: &Command,
        operand: &Operand,
        dot: &Value,
    ) -> Result<Value, String> {
        Ok(match operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(b) => Value::Bool(*b),
            Operand::Int(i) => Value::Int(*i),
            Operand::Float(f) => Value::Float(*f),
            Operand::Text(_, text) => Value::Text(text.clone()),
            Operand::Field(fields) => self.walk(command, dot.clone(), fields)?,
            Operand::Variable(name, fields) => {
                let value = self.variable(name);
                self.walk(command, value, fields)?
            }
            Operand::Function(name) => self.function(command, name)?,
            Operand::Chain(name, fields) => {
                let value = self.function(command, name)?;
                self.walk(command, value, fields)?
            }
            Operand::Pipe(pipe, fields) => {
                let value = self.pipe(pipe, dot)?;
                self.walk(command, value, fields)?
            }
        })
    }

    fn walk(
        &self,
        command: &Command,
        mut value: Value,
        fields: &[String],
    ) -> Result<Value, String> {
        for field in fields {
            value = match &value {
                Value::Labels => {
                    Value::Text(self.context.labels.get(field).unwrap_or("").to_owned())
                }
                Value::Map(map) => Arc::clone(map).get(field).cloned().unwrap_or(Value::Nil),
                Value::Time(time) => match time.method(field) {
                    Some(value) => value,
                    None => {
                        let what = format!("can't evaluate field {field} in type time.Time");
                        return Err(self.error(command, &what));
                    }
                },
                Value::Nil => {
                    let what = format!("nil pointer evaluating interface {{}}.{field}");
                    return Err(self.error(command, &what));
                }
                other => {
                    let what =
                        format!("can't evaluate field {field} in type {}", other.type_name());
                    return Err(self.error(command, &what));
                }
            };
        }
        Ok(value)
    }
}
