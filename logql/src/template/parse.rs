//! Template text to tree.

use std::collections::HashMap;

use crate::units::quote;

/// Blocks and parentheses nested deeper are refused; trees are walked recursively.
const MAX_DEPTH: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Vec<Node>,
    pub(super) defined: HashMap<String, Vec<Node>>,
    /// The text; places in it are byte offsets.
    text: String,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Pipe, Vec<Self>, Vec<Self>),
    Range(Pipe, Vec<Self>, Vec<Self>),
    With(Pipe, Vec<Self>, Vec<Self>),
    Call(Call),
    Break,
    Continue,
}

/// `{{template "name" argument}}`
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) argument: Option<Pipe>,
    /// Offset of the name in the text, for errors.
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) declared: Vec<String>,
    /// `=` rather than `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    /// Not empty.
    pub(super) operands: Vec<Placed>,
    /// Offset in the text, for errors.
    pub(super) at: usize,
}

/// An operand and where errors about it say that it is.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) operand: Operand,
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// As written, and what it means.
    Text(String, String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>, Vec<String>),
    /// A function's value's fields: `__timestamp__.Unix`.
    Chain(String, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Field(String),
    Variable(String),
    Text(String, String),
    Number(String),
    Char(i64),
    Symbol(&'static str),
    Blank,
}

struct Action {
    tokens: Vec<(Token, usize)>,
    offset: usize,
}

enum Piece {
    Text(String),
    Action(Action),
}

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    /// Functions beyond Go's own.
    functions: &'a [&'a str],
    pieces: std::vec::IntoIter<Piece>,
    defined: HashMap<String, Vec<Node>>,
    variables: Vec<String>,
    depth: usize,
    range_depth: usize,
    /// Offset of the action at hand, for errors.
    offset: usize,
}

pub(super) fn parse(name: &str, text: &str, functions: &[&str]) -> Result<Tree, String> {
    let pieces = split(name, text)?.into_iter();
    let mut parser = Parser {
        name,
        text,
        functions,
        pieces,
        defined: HashMap::new(),
        variables: vec!["$".to_owned()],
        depth: 0,
        range_depth: 0,
        offset: 0,
    };
    let (root, end) = parser.nodes()?;
    if let Some(end) = end {
        return Err(parser.error(&format!("unexpected {{{{{}}}}}", end.word())));
    }
    Ok(Tree {
        root,
        defined: parser.defined,
        text: text.to_owned(),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

/// Texts and actions in order, blanks trimmed where `-` asks for it.
fn split(name: &str, text: &str) -> Result<Vec<Piece>, String> {
    let fail = |offset: usize, what: &str| {
        Err(format!(
            "template: {name}:{}: {what}",
            line_of(text, offset)
        ))
    };
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut pieces = Vec::new();
    let (mut at, mut trim_left) = (0, false);
    loop {
        let open = text[at..].find("{{").map(|o| at + o);
        let mut literal = &text[at..open.unwrap_or(text.len())];
        if trim_left {
            literal = literal.trim_start_matches(blank);
        }
        let Some(open) = open else {
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.to_owned()));
            }
            return Ok(pieces);
        };
        let mut inside = open + 2;
        let trims = text[inside..].starts_with('-') && text[inside + 1..].starts_with(blank);
        if trims {
            literal = literal.trim_end_matches(blank);
            inside += 1;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.to_owned()));
        }
        let bare = text[inside..].trim_start_matches(blank);
        if bare.starts_with("/*") {
            let start = text.len() - bare.len();
            let Some(end) = text[start..].find("*/").map(|e| start + e + 2) else {
                return fail(open, "unclosed comment");
            };
            let behind = &text[end..];
            if let Some(rest) = behind.strip_prefix("}}") {
                trim_left = false;
                at = text.len() - rest.len();
            } else if let Some(rest) = behind.strip_prefix(" -}}") {
                trim_left = true;
                at = text.len() - rest.len();
            } else {
                return fail(open, "comment ends before closing delimiter");
            }
            continue;
        }
        let (tokens, end, trims) = match tokens(text, inside) {
            Ok(found) => found,
            Err((offset, what)) => return fail(offset, &what),
        };
        pieces.push(Piece::Action(Action {
            tokens,
            offset: open,
        }));
        trim_left = trims;
        at = end;
    }
}

type Tokens = (Vec<(Token, usize)>, usize, bool);

/// Tokens up to the closing delimiter, the offset behind it, and whether it trims.
fn tokens(text: &str, start: usize) -> Result<Tokens, (usize, String)> {
    let mut out: Vec<(Token, usize)> = Vec::new();
    let mut at = start;
    loop {
        let rest = &text[at..];
        let Some(c) = rest.chars().next() else {
            return Err((at, "unclosed action".to_owned()));
        };
        if rest.starts_with("}}") {
            return Ok((out, at + 2, false));
        }
        if c.is_whitespace() {
            let len = rest
                .find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len());
            if rest[len..].starts_with("-}}") {
                return Ok((out, at + len + 3, true));
            }
            out.push((Token::Blank, at));
            at += len;
            continue;
        }
        let word_len = |text: &str| {
            text.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(text.len())
        };
        let (token, len) = match c {
            '"' => quoted(rest).ok_or((at, "unterminated quoted string".to_owned()))?,
            '`' => {
                let Some(end) = rest[1..].find('`') else {
                    return Err((at, "unterminated raw quoted string".to_owned()));
                };
                (
                    Token::Text(rest[..end + 2].to_owned(), rest[1..=end].to_owned()),
                    end + 2,
                )
            }
            '\'' => {
                let mut chars = rest[1..].chars();
                match (chars.next(), chars.next()) {
                    (Some(c), Some('\'')) => (Token::Char(i64::from(c as u32)), c.len_utf8() + 2),
                    _ => return Err((at, "unterminated character constant".to_owned())),
                }
            }
            '|' => (Token::Symbol("|"), 1),
            '(' => (Token::Symbol("("), 1),
            ')' => (Token::Symbol(")"), 1),
            ',' => (Token::Symbol(","), 1),
            '=' => (Token::Symbol("="), 1),
            ':' if rest[1..].starts_with('=') => (Token::Symbol(":="), 2),
            '$' => {
                let len = 1 + word_len(&rest[1..]);
                (Token::Variable(rest[..len].to_owned()), len)
            }
            '.' if rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                let len = 1 + word_len(&rest[1..]);
                (Token::Field(rest[1..len].to_owned()), len)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => (Token::Symbol("."), 1),
            '+' | '-' | '.' | '0'..='9' => {
                let len = number_len(rest);
                (Token::Number(rest[..len].to_owned()), len)
            }
            c if c.is_alphabetic() || c == '_' => {
                let len = word_len(rest);
                (Token::Word(rest[..len].to_owned()), len)
            }
            c => {
                return Err((
                    at,
                    format!(
                        "unexpected bad character U+{:04X} '{c}' in command",
                        c as u32
                    ),
                ));
            }
        };
        out.push((token, at));
        at += len;
    }
}

fn number_len(text: &str) -> usize {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let sign = (c == '+' || c == '-') && (at == 0 || matches!(before, 'e' | 'E' | 'p' | 'P'));
        if !(sign || c == '.' || c == '_' || c.is_ascii_alphanumeric()) {
            return at;
        }
        before = c;
    }
    text.len()
}

fn quoted(text: &str) -> Option<(Token, usize)> {
    let mut value: Vec<u8> = Vec::new();
    let mut at = 1;
    loop {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        match c {
            '"' => {
                let value = String::from_utf8_lossy(&value).into_owned();
                return Some((Token::Text(text[..=at].to_owned(), value), at + 1));
            }
            '\n' => return None,
            '\\' => {
                let (behind, bytes) = crate::lexer::escape(&rest[1..]).ok()?;
                value.extend_from_slice(&bytes);
                at = text.len() - behind.len();
            }
            c => {
                value.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                at += c.len_utf8();
            }
        }
    }
}

/// What ended a list of nodes.
enum End {
    End,
    Else(Action),
}

impl End {
    const fn word(&self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Else(_) => "else",
        }
    }
}

impl Parser<'_> {
    fn error(&self, what: &str) -> String {
        format!(
            "template: {}:{}: {what}",
            self.name,
            line_of(self.text, self.offset)
        )
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Option<End>), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            self.offset = action.offset;
            let word = action.tokens.iter().position(|(t, _)| *t != Token::Blank);
            let keyword = match word.map(|at| &action.tokens[at].0) {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = |action: &mut Action| {
                action.tokens.drain(..=word.unwrap_or(0));
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, Some(End::End))),
                "else" => {
                    rest(&mut action);
                    return Ok((nodes, Some(End::Else(action))));
                }
                "if" | "with" | "range" => {
                    rest(&mut action);
                    nodes.push(self.block(&keyword, &action)?);
                }
                "define" | "block" => {
                    rest(&mut action);
                    if let Some(node) = self.definition(&keyword, action)? {
                        nodes.push(node);
                    }
                }
                "template" => {
                    rest(&mut action);
                    nodes.push(Node::Call(self.name_and_argument("template", &action)?));
                }
                "break" | "continue" => {
                    if self.range_depth == 0 {
                        return Err(self.error(&format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                _ => {
                    let pipe = self.pipe(&action, "command")?;
                    nodes.push(Node::Action(pipe));
                }
            }
        }
        Ok((nodes, None))
    }

    fn block(&mut self, keyword: &str, action: &Action) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("blocks nest too deeply"));
        }
        let scope = self.variables.len();
        let pipe = self.pipe(action, keyword)?;
        let in_range = usize::from(keyword == "range");
        self.range_depth += in_range;
        let (body, end) = self.nodes()?;
        self.range_depth -= in_range;
        let otherwise = match end {
            None => return Err(self.error("unexpected EOF")),
            Some(End::End) => Vec::new(),
            Some(End::Else(action)) => self.otherwise(keyword, action)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If(pipe, body, otherwise),
            "with" => Node::With(pipe, body, otherwise),
            _ => Node::Range(pipe, body, otherwise),
        })
    }

    fn otherwise(&mut self, keyword: &str, mut action: Action) -> Result<Vec<Node>, String> {
        let next = action.tokens.iter().position(|(t, _)| *t != Token::Blank);
        if let Some(at) = next {
            // `else if` is an `if` of its own that shares its end.
            let chained =
                matches!(&action.tokens[at].0, Token::Word(w) if w == keyword && w != "range");
            if !chained {
                return Err(self.error("unexpected token in else"));
            }
            action.tokens.drain(..=at);
            return Ok(vec![self.block(keyword, &action)?]);
        }
        match self.nodes()? {
            (nodes, Some(End::End)) => Ok(nodes),
            (_, Some(End::Else(_))) => Err(self.error("expected end; found {{else}}")),
            (_, None) => Err(self.error("unexpected EOF")),
        }
    }

    fn name_and_argument(&mut self, context: &str, action: &Action) -> Result<Call, String> {
        let at = action.tokens.iter().position(|(t, _)| *t != Token::Blank);
        let Some((Token::Text(_, name), offset)) = at.map(|at| &action.tokens[at]) else {
            return Err(self.error(&format!("unexpected token in {context} clause")));
        };
        let mut call = Call {
            name: name.clone(),
            argument: None,
            at: *offset,
        };
        let tokens = action.tokens[at.map_or(0, |at| at + 1)..].to_vec();
        if tokens.iter().all(|(t, _)| *t == Token::Blank) {
            return Ok(call);
        }
        let action = Action {
            tokens,
            offset: action.offset,
        };
        call.argument = Some(self.pipe(&action, context)?);
        Ok(call)
    }

    fn definition(&mut self, keyword: &str, action: Action) -> Result<Option<Node>, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("blocks nest too deeply"));
        }
        let call = self.name_and_argument(keyword, &action)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, end) = self.nodes()?;
        self.variables = outer;
        if !matches!(end, Some(End::End)) {
            return Err(self.error("unexpected EOF"));
        }
        self.defined.insert(call.name.clone(), nodes);
        self.depth -= 1;
        Ok((keyword == "block").then_some(Node::Call(call)))
    }

    fn pipe(&mut self, action: &Action, context: &str) -> Result<Pipe, String> {
        let mut reader = Reader {
            tokens: &action.tokens,
            at: 0,
        };
        let pipe = self.pipe_of(&mut reader, context)?;
        if reader.peek().is_some() {
            return Err(self.error("unexpected right paren"));
        }
        Ok(pipe)
    }

    fn pipe_of(&mut self, reader: &mut Reader<'_>, context: &str) -> Result<Pipe, String> {
        let (declared, assigns) = self.declaration(reader, context)?;
        let mut commands = Vec::new();
        loop {
            reader.skip_blanks();
            match reader.peek() {
                None | Some(Token::Symbol(")")) => {
                    if commands.is_empty() {
                        return Err(self.error(&format!("missing value for {context}")));
                    }
                    return Err(self.error("missing command after |"));
                }
                Some(Token::Symbol("|")) => return Err(self.error("unexpected <|> in operand")),
                _ => {}
            }
            commands.push(self.command(reader)?);
            match reader.peek() {
                Some(Token::Symbol("|")) => reader.at += 1,
                _ => break,
            }
        }
        Ok(Pipe {
            declared,
            assigns,
            commands,
        })
    }

    fn declaration(
        &mut self,
        reader: &mut Reader<'_>,
        context: &str,
    ) -> Result<(Vec<String>, bool), String> {
        let start = reader.at;
        let mut names = Vec::new();
        loop {
            reader.skip_blanks();
            let Some(Token::Variable(name)) = reader.peek() else {
                break;
            };
            names.push(name.clone());
            reader.at += 1;
            reader.skip_blanks();
            match reader.peek() {
                Some(Token::Symbol(",")) if context == "range" && names.len() < 2 => reader.at += 1,
                Some(Token::Symbol(symbol @ (":=" | "="))) => {
                    reader.at += 1;
                    let assigns = *symbol == "=";
                    if !assigns {
                        self.variables.extend(names.iter().cloned());
                    }
                    return Ok((names, assigns));
                }
                _ => break,
            }
        }
        reader.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, reader: &mut Reader<'_>) -> Result<Command, String> {
        let mut operands = Vec::new();
        let offset = reader.offset();
        loop {
            reader.skip_blanks();
            match reader.peek() {
                None | Some(Token::Symbol(")" | "|")) => break,
                _ => operands.push(self.operand(reader)?),
            }
            match reader.peek() {
                None | Some(Token::Blank | Token::Symbol(")" | "|")) => {}
                Some(token) => {
                    return Err(self.error(&format!("unexpected {} in operand", show(token))));
                }
            }
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command {
            operands,
            at: offset,
        })
    }

    fn operand(&mut self, reader: &mut Reader<'_>) -> Result<Placed, String> {
        let start = reader.offset();
        let operand = self.operand_at(reader)?;
        let behind = match &operand {
            Operand::Field(fields) => fields.len() - 1,
            Operand::Variable(_, fields) | Operand::Chain(_, fields) | Operand::Pipe(_, fields) => {
                fields.len()
            }
            _ => 0,
        };
        // What has fields behind it is, for Go, where the first of these is.
        let at = if behind == 0 {
            start
        } else {
            reader.tokens[reader.at - behind].1
        };
        Ok(Placed { operand, at })
    }

    fn operand_at(&mut self, reader: &mut Reader<'_>) -> Result<Operand, String> {
        let Some(token) = reader.peek().cloned() else {
            return Err(self.error("missing operand"));
        };
        reader.at += 1;
        Ok(match token {
            Token::Symbol(".") => Operand::Dot,
            Token::Word(word) => match word.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ => {
                    if !self.functions.contains(&word.as_str())
                        && !super::functions::NAMES.contains(&word.as_str())
                    {
                        return Err(self.error(&format!("function {} not defined", quote(&word))));
                    }
                    let fields = reader.fields();
                    if fields.is_empty() {
                        Operand::Function(word)
                    } else {
                        Operand::Chain(word, fields)
                    }
                }
            },
            Token::Field(name) => {
                let mut fields = vec![name];
                fields.extend(reader.fields());
                Operand::Field(fields)
            }
            Token::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(&format!("undefined variable {}", quote(&name))));
                }
                Operand::Variable(name, reader.fields())
            }
            Token::Text(written, value) => Operand::Text(written, value),
            Token::Char(code) => Operand::Int(code),
            Token::Number(text) => number(&text)
                .ok_or_else(|| self.error(&format!("bad number syntax: {}", quote(&text))))?,
            Token::Symbol("(") => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(self.error("parentheses nest too deeply"));
                }
                let pipe = self.pipe_of(reader, "parenthesized pipeline")?;
                self.depth -= 1;
                if reader.peek() != Some(&Token::Symbol(")")) {
                    return Err(self.error("unclosed left paren"));
                }
                reader.at += 1;
                Operand::Pipe(Box::new(pipe), reader.fields())
            }
            token => return Err(self.error(&format!("unexpected {} in command", show(&token)))),
        })
    }
}

struct Reader<'t> {
    tokens: &'t [(Token, usize)],
    at: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, offset)| *offset)
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(&Token::Blank) {
            self.at += 1;
        }
    }

    /// Fields right behind an operand.
    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(Token::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.at += 1;
        }
        fields
    }
}

fn number(text: &str) -> Option<Operand> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix(['+', '-']) {
        Some(rest) => (if plain.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, plain.as_str()),
    };
    let radix = |prefix: &str, radix| {
        digits
            .strip_prefix(prefix)
            .and_then(|d| i64::from_str_radix(d, radix).ok())
    };
    let int = radix("0x", 16)
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| digits.parse::<i64>().ok());
    if let Some(int) = int {
        return Some(Operand::Int(sign * int));
    }
    let float: f64 = digits.parse().ok()?;
    digits
        .starts_with(|c: char| c.is_ascii_digit() || c == '.')
        .then_some(Operand::Float(sign as f64 * float))
}

fn show(token: &Token) -> String {
    match token {
        Token::Word(w) => format!("<{w}>"),
        Token::Field(f) => format!("<.{f}>"),
        Token::Variable(v) => format!("<{v}>"),
        Token::Text(written, _) => quote(written),
        Token::Number(n) => quote(n),
        Token::Char(c) => c.to_string(),
        Token::Symbol(s) => format!("<{s}>"),
        Token::Blank => "<blank>".to_owned(),
    }
}

impl Call {
    /// The call as errors show it.
    pub(super) fn show(&self) -> String {
        let argument = self.argument.as_ref().map_or_else(String::new, |pipe| {
            let commands: Vec<_> = pipe.commands.iter().map(Command::show).collect();
            format!(" {}", commands.join(" | "))
        });
        format!("{{{{template {}{argument}}}}}", quote(&self.name))
    }
}

impl Command {
    /// The command as errors show it.
    pub(super) fn show(&self) -> String {
        self.operands
            .iter()
            .map(|placed| placed.operand.show())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn dotted(start: &str, fields: &[String]) -> String {
    fields
        .iter()
        .fold(start.to_owned(), |text, field| format!("{text}.{field}"))
}

impl Operand {
    /// A text or a number as written, rather than what something else evaluates to.
    pub(super) const fn is_literal(&self) -> bool {
        matches!(
            self,
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(..)
        )
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Dot => ".".to_owned(),
            Self::Nil => "nil".to_owned(),
            Self::Bool(b) => b.to_string(),
            Self::Int(i) => i.to_string(),
            Self::Float(f) => f.to_string(),
            Self::Text(written, _) => written.clone(),
            Self::Field(fields) => dotted("", fields),
            Self::Variable(name, fields) | Self::Chain(name, fields) => dotted(name, fields),
            Self::Function(name) => name.clone(),
            Self::Pipe(pipe, fields) => {
                let commands: Vec<_> = pipe.commands.iter().map(Command::show).collect();
                dotted(&format!("({})", commands.join(" | ")), fields)
            }
        }
    }
}

impl Tree {
    /// Line, from 1, and column, from 0, of an offset.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..offset.min(self.text.len())];
        let column = before
            .rfind('\n')
            .map_or(before.len(), |newline| before.len() - newline - 1);
        (line_of(&self.text, offset), column)
    }

    /// Collects the label names that are read; nothing where the labels are used as a whole.
    pub(super) fn fields(&self, out: &mut Vec<String>) -> Option<()> {
        self.defined
            .values()
            .try_for_each(|nodes| node_fields(nodes, out))?;
        node_fields(&self.root, out)
    }
}

fn node_fields(nodes: &[Node], out: &mut Vec<String>) -> Option<()> {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Call(call) => {
                if let Some(pipe) = &call.argument {
                    pipe_fields(pipe, out)?;
                }
            }
            Node::Action(pipe) => pipe_fields(pipe, out)?,
            Node::If(pipe, a, b) | Node::Range(pipe, a, b) | Node::With(pipe, a, b) => {
                pipe_fields(pipe, out)?;
                node_fields(a, out)?;
                node_fields(b, out)?;
            }
        }
    }
    Some(())
}

fn pipe_fields(pipe: &Pipe, out: &mut Vec<String>) -> Option<()> {
    for placed in pipe.commands.iter().flat_map(|c| &c.operands) {
        match &placed.operand {
            Operand::Dot => return None,
            Operand::Variable(name, fields) if name == "$" => out.push(fields.first()?.clone()),
            Operand::Field(fields) => out.extend(fields.first().cloned()),
            Operand::Pipe(pipe, _) => pipe_fields(pipe, out)?,
            _ => {}
        }
    }
    Some(())
}
