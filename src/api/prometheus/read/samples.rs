//! The answer of one message: all samples of all queries, snappy. What is held of it is compressed.

use axum::response::{IntoResponse, Response};
use http::header;
use storage::model::SampleBuf;

use super::snappy_blocks::Pieces;
use super::{MAX_SAMPLES, Reading, Selection, TextError, with_external};
use crate::wire::remote_read;

/// Inflated bytes that a snappy block can have.
const MAX_INFLATED: usize = u32::MAX as usize;

pub(super) async fn answer(reading: &Reading) -> Result<Response, TextError> {
    let mut whole = Pieces::default();
    for query in &reading.queries {
        let room = reading.held_bytes.saturating_sub(whole.held_bytes());
        let result = result(reading, query, room).await?;
        let head = remote_read::result_head(result.inflated_bytes());
        whole
            .push(&head)
            .and_then(|()| whole.append(result))
            .map_err(TextError::internal)?;
        if whole.inflated_bytes() > MAX_INFLATED {
            return Err(too_large(MAX_INFLATED));
        }
    }
    let body = whole.finish().map_err(TextError::internal)?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-protobuf"),
        (header::CONTENT_ENCODING, "snappy"),
    ];
    Ok((headers, body).into_response())
}

/// The content of a `QueryResult`.
async fn result(reading: &Reading, query: &Selection, room: usize) -> Result<Pieces, TextError> {
    let storage = &reading.app.storage;
    let mut out = Pieces::default();
    let (mut message, mut samples) = (Vec::new(), SampleBuf::default());
    if query.only_labels {
        let any_of = [query.select.matchers.clone()];
        let range = query.select.range;
        let all = storage
            .series_labels(&reading.tenant, &any_of, range, 0)
            .await?;
        for labels in all {
            message.clear();
            let labels = with_external(&labels, &reading.external);
            remote_read::put_series(&mut message, &labels, &samples);
            push(&mut out, &message, room)?;
        }
        return Ok(out);
    }
    let mut count = 0;
    let mut set = storage
        .select_series(&reading.tenant, &query.select)
        .await?;
    while let Some(batch) = set.next_batch().await? {
        tokio::task::block_in_place(|| -> Result<(), TextError> {
            for series in batch {
                series.samples(&mut samples)?;
                if samples.is_empty() {
                    continue;
                }
                count += samples.len();
                if count > MAX_SAMPLES {
                    return Err(TextError::bad(format!(
                        "exceeded sample limit ({MAX_SAMPLES})"
                    )));
                }
                message.clear();
                let labels = with_external(series.labels(), &reading.external);
                remote_read::put_series(&mut message, &labels, &samples);
                push(&mut out, &message, room)?;
            }
            Ok(())
        })?;
    }
    Ok(out)
}

fn push(out: &mut Pieces, message: &[u8], room: usize) -> Result<(), TextError> {
    out.push(message).map_err(TextError::internal)?;
    if out.held_bytes() > room {
        return Err(too_large(room));
    }
    Ok(())
}

fn too_large(bytes: usize) -> TextError {
    TextError::bad(format!(
        "exceeded memory for an answer of one message ({bytes} bytes); ask for a shorter time or for STREAMED_XOR_CHUNKS"
    ))
}
