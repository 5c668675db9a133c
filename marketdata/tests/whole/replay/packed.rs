//! Packed files, and damaged ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

fn zipped(files: &[(&str, &str)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in files {
        writer.start_file(*name, options).expect("a file");
        writer.write_all(content.as_bytes()).expect("its content");
    }
    writer.finish().expect("an archive").into_inner()
}

#[test]
fn packed_files_are_read_and_damaged_ones_are_errors() {
    let lines: Vec<String> = (1..3_000)
        .map(|id| csv_line(id, DAY_MS + 700 * id as i64))
        .collect();
    let content = lines.concat();
    let plain = replayed(&OF_BTC, &[&content]).expect("bars");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_bytes()).expect("written");
    let gz = encoder.finish().expect("gzip");
    let (one, other) = (lines[..1_000].concat(), lines[1_000..].concat());
    for packed in [
        gz,
        zipped(
            &[("trades.csv", &content)],
            zip::CompressionMethod::Deflated,
        ),
        zipped(&[("trades.csv", &content)], zip::CompressionMethod::Stored),
        // Several files, by name; the first lacks its last line's end.
        zipped(
            &[("b.csv", &other), ("a.csv", one.trim_end())],
            zip::CompressionMethod::Deflated,
        ),
    ] {
        let file = temp_file(&packed);
        assert!(replay_of(&OF_BTC, &[&file.0]).expect("bars") == plain);
        // Cut off, or with a byte of its middle changed.
        let cut = temp_file(&packed[..packed.len() / 2]);
        let error = replay_of(&OF_BTC, &[&cut.0]).expect_err("half an archive");
        assert!(matches!(error, ReplayError::Read { .. }), "{error}");
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 0x55;
        let changed = temp_file(&changed);
        assert!(replay_of(&OF_BTC, &[&changed.0]).is_err());
    }
    let empty = temp_file(&zipped(&[], zip::CompressionMethod::Stored));
    assert!(replay_of(&OF_BTC, &[&empty.0]).is_err());
}
