//! Images: one file that boots, made of the kernel, one readable configuration and the applications.
//!
//! The form and its checks are the kernel's own (`kernel/core`: `bundle`, `elf`), so that what would be refused at
//! boot is refused here, in words, before anything is started.

use crate::trouble::{Context, Outcome};
use crate::{attach, file};
use nom_kernel_core::bundle::{self, Bundle, Kind, Part};
use nom_kernel_core::elf;
use std::fmt::Write;
use std::path::Path;

/// The name of the configuration's part.
const CONFIGURATION: &str = "configuration";

/// Puts an image together and checks it.
pub fn assemble(kernel: &Path, configuration: &str, applications: &[(&str, &Path)]) -> Outcome<Vec<u8>> {
    assemble_with(kernel, configuration, applications, &[])
}

/// The same with content for some of the applications.
pub fn assemble_with(
    kernel: &Path,
    configuration: &str,
    applications: &[(&str, &Path)],
    contents: &[(&str, Vec<u8>)],
) -> Outcome<Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).context(|| format!("cannot read {}", path.display()));
    let kernel_bytes = read(kernel)?;
    let files: Vec<(&str, Vec<u8>)> =
        applications.iter().map(|(name, path)| Ok((*name, read(path)?))).collect::<Outcome<_>>()?;
    let mut parts =
        vec![Part { kind: Kind::Configuration, name: CONFIGURATION, bytes: configuration.as_bytes() }];
    parts.extend(files.iter().map(|(name, bytes)| Part { kind: Kind::Application, name, bytes }));
    parts.extend(contents.iter().map(|(name, bytes)| Part { kind: Kind::Content, name, bytes }));
    attached(&kernel_bytes, &parts, || kernel.display().to_string())
}

/// A kernel's file with parts attached to it, checked.
fn attached(kernel: &[u8], parts: &[Part<'_>], name: impl FnOnce() -> String) -> Outcome<Vec<u8>> {
    let mut bundle = vec![0; bundle::encoded_len(parts).min(bundle::LEN_MAX)];
    let len = bundle::write(parts, &mut bundle).context(|| "cannot assemble the image".into())?;
    bundle.truncate(len);
    let image = attach::attach(kernel, &bundle).context(name)?;
    check(&image)?;
    Ok(image)
}

/// The same image with another configuration.
pub fn with_configuration(image: &[u8], configuration: &str) -> Outcome<Vec<u8>> {
    let bundle = check(image)?;
    let kernel = attach::detached(image).context(|| "the image".into())?;
    let parts: Vec<Part<'_>> = bundle
        .parts()
        .map(|part| match part.kind {
            Kind::Configuration => Part { bytes: configuration.as_bytes(), ..part },
            _ => part,
        })
        .collect();
    attached(&kernel, &parts, || "the image".into())
}

/// Checks an image completely: the kernel's file, the bundle, and each application in it.
pub fn check(image: &[u8]) -> Outcome<Bundle<'_>> {
    let bytes = attach::attached(image).context(|| "this is not an image".into())?;
    let bundle = bundle::read(bytes).context(|| "this is not a good image".into())?;
    for part in bundle.parts().filter(|part| part.kind == Kind::Application) {
        elf::application(part.bytes).context(|| format!("application {}", part.name))?;
    }
    Ok(bundle)
}

/// Reads and checks an image file.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    let image = file::bytes(path, bundle::LEN_MAX as u64)?;
    check(&image).context(|| path.display().to_string())?;
    Ok(image)
}

/// The names of the applications in an image, in its order.
pub fn applications<'a>(bundle: &Bundle<'a>) -> impl Iterator<Item = &'a str> {
    bundle.parts().filter(|part| part.kind == Kind::Application).map(|part| part.name)
}

/// What is in an image, for a person.
pub fn describe(image: &[u8]) -> Outcome<String> {
    let bundle = check(image)?;
    let mut text = format!("image: {} bytes, bundle: {} bytes\n", image.len(), bundle.len());
    for part in bundle.parts().filter(|part| part.kind == Kind::Application) {
        let application = elf::application(part.bytes).context(|| format!("application {}", part.name))?;
        let _ = writeln!(
            text,
            "application {}: {} bytes, {} KiB of memory, entry {:#x}",
            part.name,
            part.bytes.len(),
            application.pages() * 4,
            application.entry
        );
        for segment in application.segments() {
            let flags = [("r", true), ("w", segment.write), ("x", segment.execute)];
            let flags: String = flags.iter().map(|(letter, is)| if *is { *letter } else { "-" }).collect();
            let _ = writeln!(text, "  {:#012x} {:>9} bytes {flags}", segment.address, segment.memory_len);
        }
    }
    for part in bundle.parts().filter(|part| part.kind == Kind::Content) {
        let _ = writeln!(text, "content of {}: {} bytes", part.name, part.bytes.len());
    }
    text.push_str("configuration:\n");
    for line in bundle.configuration().lines() {
        let _ = writeln!(text, "  {line}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A file with a program header left free, as our kernel's, or an application when it is not free.
    fn elf_file(kernel: bool) -> Vec<u8> {
        let mut file = vec![0; 0x2000];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..18].copy_from_slice(&2_u16.to_le_bytes());
        file[18..20].copy_from_slice(&62_u16.to_le_bytes());
        let address: u64 = if kernel { 0x10_0000 } else { 0x40_0000 };
        file[24..32].copy_from_slice(&address.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&(1 + u16::from(kernel)).to_le_bytes());
        let header = &mut file[64..120];
        header[..4].copy_from_slice(&1_u32.to_le_bytes());
        header[4..8].copy_from_slice(&5_u32.to_le_bytes());
        for (at, value) in
            [(8, 0x1000), (16, address), (24, address), (32, 0x1000), (40, 0x1000), (48, 0x1000)]
        {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    #[test]
    fn an_image_is_assembled_described_and_checked() {
        let scratch = Scratch::new().unwrap();
        let (kernel, application) = (scratch.file("kernel"), scratch.file("kv"));
        std::fs::write(&kernel, elf_file(true)).unwrap();
        std::fs::write(&application, elf_file(false)).unwrap();
        let image = assemble(&kernel, "listen = 11211\n", &[("kv", &application)]).unwrap();
        let text = describe(&image).unwrap();
        assert!(text.contains("application kv: 8192 bytes") && text.contains("  listen = 11211"), "{text}");
        assert_eq!(check(&image).unwrap().configuration(), "listen = 11211\n");

        let other = with_configuration(&image, "listen = 7\nwait = poll\n").unwrap();
        assert_eq!(check(&other).unwrap().configuration(), "listen = 7\nwait = poll\n");
        assert_eq!(applications(&check(&other).unwrap()).collect::<Vec<_>>(), ["kv"]);
        assert_eq!(with_configuration(&other, "listen = 11211\n").unwrap(), image);

        let mut damaged = image.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(check(&damaged).unwrap_err().to_string().contains("checksum"));
        for end in [0, 3, 100, image.len() - 1] {
            assert!(check(&image[..end]).is_err());
        }
        let full = assemble(&application, "", &[("kv", &application)]).unwrap_err().to_string();
        assert!(full.ends_with("it has no free program header for a bundle; it is not our kernel"), "{full}");
        let kernel_alone = check(&std::fs::read(&kernel).unwrap()).unwrap_err().to_string();
        assert_eq!(kernel_alone, "this is not an image: it is a file without a bundle");
        assert!(assemble(&kernel, "", &[("kv", &kernel), ("kv", &kernel)]).is_err(), "a name comes twice");
        let absent = assemble(&kernel, "", &[("kv", &scratch.file("absent"))]).unwrap_err().to_string();
        assert!(absent.contains("absent"), "{absent}");
    }
}
