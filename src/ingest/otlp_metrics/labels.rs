//! Labels of the series that data points become: from the point's attributes, the resource and the scope.

use std::borrow::Cow;

use storage::model::{Labels, LabelsBuilder, METRIC_NAME, MetricType};

use super::super::spans;
use super::names::{Namer, unit_label};
use crate::config::OtlpConfig;
use crate::wire::otlp::{AnyValue, InstrumentationScope, KeyValue, Resource, any_value::Value};

/// Attributes that say which service a resource is; they become `job` and `instance`.
const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

/// What every series of a resource gets.
#[derive(Debug)]
pub(super) struct ResourceLabels {
    job: String,
    instance: String,
    promoted: Labels,
}

/// What every series of a scope gets; an empty value takes a label away.
#[derive(Debug, Default)]
pub(super) struct ScopeLabels(Vec<(String, String)>);

/// Type and unit, where they become labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeAndUnit<'a> {
    pub(super) metric_type: MetricType,
    pub(super) unit: &'a str,
}

impl ResourceLabels {
    pub(super) fn of(
        resource: Option<&Resource>,
        namer: &Namer,
        config: &OtlpConfig,
    ) -> Result<Self, String> {
        let attributes = attributes_of(resource);
        let text = |key: &str| {
            let found = attributes.iter().find(|a| a.key == key)?;
            Some(value_text(found.value.as_ref()))
        };
        let job = match (text(SERVICE_NAMESPACE), text(SERVICE_NAME)) {
            (_, None) => String::new(),
            (None, Some(name)) => name.into_owned(),
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        };
        let mut promoted = LabelsBuilder::default();
        for a in attributes.iter().filter(|a| config.promote.takes(&a.key)) {
            promoted.set(&namer.label(&a.key)?, &value_text(a.value.as_ref()));
        }
        Ok(Self {
            job,
            instance: text(SERVICE_INSTANCE).unwrap_or_default().into_owned(),
            promoted: promoted.finish(),
        })
    }

    fn identify(&self, labels: &mut LabelsBuilder) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                labels.set(name, value);
            }
        }
    }
}

impl ScopeLabels {
    pub(super) fn of(
        scope: Option<&InstrumentationScope>,
        schema_url: &str,
        namer: &Namer,
        config: &OtlpConfig,
    ) -> Result<Self, String> {
        let Some(scope) = scope.filter(|s| config.promote_scope && !s.name.is_empty()) else {
            return Ok(Self::default());
        };
        let mut attributes = LabelsBuilder::default();
        for a in &scope.attributes {
            let name = namer.label(&format!("otel_scope_{}", a.key))?;
            attributes.set(&name, &value_text(a.value.as_ref()));
        }
        let attributes = attributes.finish();
        let mut labels: Vec<(String, String)> = attributes
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in [
            ("otel_scope_name", &*scope.name),
            ("otel_scope_version", &scope.version),
            ("otel_scope_schema_url", schema_url),
        ] {
            labels.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(labels))
    }
}

/// Labels of a data point's series, but for the metric's name.
pub(super) fn of_point(
    attributes: &[KeyValue],
    resource: &ResourceLabels,
    scope: &ScopeLabels,
    type_and_unit: Option<TypeAndUnit<'_>>,
    namer: &Namer,
) -> Result<LabelsBuilder, String> {
    let mut labels = of_attributes(attributes, &[METRIC_NAME], namer)?;
    for (name, value) in &resource.promoted {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    resource.identify(&mut labels);
    for (name, value) in &scope.0 {
        labels.set(name, value);
    }
    if let Some(TypeAndUnit { metric_type, unit }) = type_and_unit {
        if metric_type != MetricType::Unknown {
            labels.set("__type__", metric_type.as_str());
        }
        if !unit.is_empty() {
            labels.set("__unit__", &unit_label(unit, namer.escapes));
        }
    }
    Ok(labels)
}

/// Labels of `target_info`; `None` where it would say nothing.
pub(super) fn of_target(
    resource: Option<&Resource>,
    labels: &ResourceLabels,
    namer: &Namer,
    config: &OtlpConfig,
) -> Result<Option<Labels>, String> {
    let attributes = attributes_of(resource);
    let identifying = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];
    let present = identifying
        .iter()
        .filter(|key| attributes.iter().any(|a| a.key == **key))
        .count();
    if attributes.len() == present {
        return Ok(None);
    }
    let ignored = if config.keep_identifying {
        &[][..]
    } else {
        &identifying
    };
    let mut info = of_attributes(attributes, ignored, namer)?;
    labels.identify(&mut info);
    if info.get("job").is_none() && info.get("instance").is_none() {
        return Ok(None);
    }
    info.set(METRIC_NAME, "target_info");
    Ok(Some(info.finish()))
}

fn attributes_of(resource: Option<&Resource>) -> &[KeyValue] {
    resource.map_or(&[], |r| &r.attributes)
}

/// Values of keys that become one label are joined with `;`, in order of the keys.
fn of_attributes(
    attributes: &[KeyValue],
    ignored: &[&str],
    namer: &Namer,
) -> Result<LabelsBuilder, String> {
    let mut sorted: Vec<&KeyValue> = attributes
        .iter()
        .filter(|a| !ignored.contains(&a.key.as_str()))
        .collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut labels = LabelsBuilder::default();
    for a in sorted {
        let text = value_text(a.value.as_ref());
        if !namer.escapes {
            labels.set(&a.key, &text);
            continue;
        }
        let name = namer.label(&a.key)?;
        match labels.get(&name).map(|before| format!("{before};{text}")) {
            Some(joined) => labels.set(&name, &joined),
            None => labels.set(&name, &text),
        };
    }
    Ok(labels)
}

/// The text of an attribute's value: lists and maps as JSON.
pub(super) fn value_text(value: Option<&AnyValue>) -> Cow<'_, str> {
    match value.and_then(|v| v.value.as_ref()) {
        None => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Double(d)) if !d.is_finite() => {
            let text = spans::value(Some(Value::Double(*d))).to_text();
            Cow::Owned(format!("json: unsupported value: {text}"))
        }
        // JSON cannot say it, and Go's encoder then says nothing.
        Some(value) if !is_json(value) => Cow::Borrowed(""),
        Some(value) => Cow::Owned(spans::value(Some(value.clone())).to_text()),
    }
}

fn is_json(value: &Value) -> bool {
    let all = |v: &AnyValue| v.value.as_ref().is_none_or(is_json);
    match value {
        Value::Double(d) => d.is_finite(),
        Value::Array(list) => list.values.iter().all(all),
        Value::Kvlist(map) => map.values.iter().all(|a| a.value.as_ref().is_none_or(all)),
        _ => true,
    }
}
