//! QEMU's command lines: what a guest of ours consists of, said to the emulator.

use crate::trouble::{Outcome, Trouble};
use nom_abi::exit;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The program, and the Debian package that has it.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The Debian package of [`PROGRAM`].
pub const PACKAGE: &str = "qemu-system-x86";
/// Where the host is found from inside user networking: this address is the host's loopback.
pub const HOST_FROM_GUEST: &str = "10.0.2.2";

/// A machine type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// QEMU's `microvm`: no PCI, virtio over registers in memory. Boots soonest; for trusted images only.
    Microvm,
    /// QEMU's `q35`: PCI Express, as a cloud's ordinary machines.
    Q35,
}

impl Kind {
    /// Both, for tests that must hold on each.
    pub const ALL: [Kind; 2] = [Kind::Microvm, Kind::Q35];

    /// The name that a person types.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Microvm => "microvm",
            Kind::Q35 => "q35",
        }
    }

    /// The machine type of this name.
    pub fn parse(name: &str) -> Outcome<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Trouble::new(format!("machine type {name:?} is not known: microvm or q35")))
    }

    /// Suffix of the virtio devices of this machine type.
    fn bus(self) -> &'static str {
        match self {
            Kind::Microvm => "device",
            Kind::Q35 => "pci",
        }
    }
}

/// Who executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator. Works everywhere.
    Tcg,
    /// The processor. Only where [`crate::kvm::works`] has seen a guest run.
    Kvm,
}

/// A disk: a file whose bytes are the disk's.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The file.
    pub file: PathBuf,
    /// Whether the guest may not write to it.
    pub read_only: bool,
}

/// A network card on a TAP device, which the emulator makes in the network namespace of whoever starts it.
#[derive(Debug, Clone)]
pub struct Tap {
    /// Name of the interface.
    pub name: String,
    /// Pairs of queues.
    pub queues: u16,
}

/// A guest, as it is to be started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Machine type.
    pub kind: Kind,
    /// Who executes.
    pub accelerator: Accelerator,
    /// Memory of the machine.
    pub memory_mib: u32,
    /// Number of processors.
    pub processors: u32,
    /// A TCP port of the host's loopback and the guest's port to which it is forwarded; `None`: no network device.
    pub forward: Option<(u16, u16)>,
    /// A network card on a TAP device instead.
    pub tap: Option<Tap>,
    /// Further ports of the host on that network, each with the address and port that it leads to.
    pub beside: Vec<(u16, Ipv4Addr, u16)>,
    /// Disks, in the order in which the guest finds them.
    pub disks: Vec<Disk>,
    /// Whether the machine has a management channel.
    pub management: bool,
    /// Whether the machine has a source of random numbers.
    pub entropy: bool,
    /// Features that the processor shall lack, by QEMU's names.
    pub lacking: Vec<&'static str>,
    /// Whether an IOMMU stands before the devices (q35 only): then an image need not be trusted. The emulator reports on
    /// its error stream what the IOMMU blocks.
    pub iommu: bool,
    /// Further arguments of a test.
    pub further: Vec<String>,
    /// Kernel command line.
    pub command_line: Option<String>,
    /// Whether a foreign kernel runs, which wants ACPI, and whose initial file system follows the kernel.
    pub foreign: bool,
}

impl Plan {
    /// A small machine without devices.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            accelerator: Accelerator::Tcg,
            memory_mib: 64,
            processors: 1,
            forward: None,
            tap: None,
            beside: Vec::new(),
            disks: Vec::new(),
            management: false,
            entropy: false,
            lacking: Vec::new(),
            iommu: false,
            further: Vec::new(),
            command_line: None,
            foreign: false,
        }
    }

    /// What follows `virtio-NAME-` in the name of a device of this machine.
    pub fn bus(&self) -> &'static str {
        if self.iommu { "pci,iommu_platform=on,disable-legacy=on" } else { self.kind.bus() }
    }

    /// The arguments. The kernel, the initial file system and the management channel are inherited descriptors:
    /// no file or socket has a name that could be left behind.
    pub fn arguments(
        &self,
        kernel_fd: i32,
        initial_fd: Option<i32>,
        management_fd: Option<i32>,
    ) -> Vec<String> {
        let mut line: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(|word| word.to_string()));
        let machine = match (self.kind, self.foreign) {
            (Kind::Microvm, false) => "microvm,acpi=off",
            (Kind::Microvm, true) => "microvm,acpi=on",
            // Where the processor executes, the I/O controller must be the emulator's for interrupts to be remapped.
            (Kind::Q35, _) if self.iommu => "q35,kernel-irqchip=split",
            (Kind::Q35, _) => "q35",
        };
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Tcg => ("tcg", "max"),
            Accelerator::Kvm => ("kvm", "host"),
        };
        let lacking = self.lacking.iter().map(|feature| format!(",-{feature}"));
        let processor: String = [processor.into()].into_iter().chain(lacking).collect();
        add(&["-M", machine, "-accel", accelerator, "-cpu", &processor]);
        add(&["-m", &format!("{}M", self.memory_mib), "-smp", &self.processors.to_string()]);
        // Threads get names, so that those which execute the guest can be told from the rest.
        add(&["-name", "nom,debug-threads=on"]);
        // Devices do not ask an IOMMU that is made after them.
        if self.iommu {
            add(&["-device", "intel-iommu,intremap=on,aw-bits=48", "-trace", "vtd_dmar_fault"]);
        }
        let bus = self.bus();
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        add(&["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
        add(&["-device", &format!("isa-debug-exit,iobase={:#x},iosize=4", exit::PORT)]);
        if self.kind == Kind::Microvm {
            add(&["-global", "virtio-mmio.force-legacy=false"]);
        }
        if let Some((host, guest)) = self.forward {
            let mut net = format!("user,id=net,hostfwd=tcp:127.0.0.1:{host}-:{guest}");
            for (host, address, guest) in &self.beside {
                net.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-{address}:{guest}"));
            }
            add(&["-netdev", &net]);
            // A packet that a guest cannot take is better seen as lost than hidden in the emulator.
            add(&["-device", &format!("virtio-net-{bus},netdev=net")]);
        }
        if let Some(Tap { name, queues }) = &self.tap {
            // A comma ends a value; doubled it is one.
            let name = name.replace(',', ",,");
            let net = format!("tap,id=tap,ifname={name},script=no,downscript=no,vhost=off,queues={queues}");
            let several = if *queues > 1 { ",mq=on" } else { "" };
            add(&["-netdev", &net, "-device", &format!("virtio-net-{bus},netdev=tap{several}")]);
        }
        for (number, Disk { file, read_only }) in self.disks.iter().enumerate() {
            // A comma ends a value; doubled it is one.
            let file = file.display().to_string().replace(',', ",,");
            let rights = if *read_only { ",readonly=on" } else { "" };
            add(&["-drive", &format!("if=none,id=disk{number},format=raw,file={file}{rights}")]);
            add(&["-device", &format!("virtio-blk-{bus},drive=disk{number}")]);
        }
        if let Some(fd) = management_fd {
            add(&["-chardev", &format!("socket,id=management,fd={fd}")]);
            // A port, not a console: QEMU throws a console's output away while the host does not read, and holds a
            // port's back. The guest hears when the host comes and goes.
            add(&["-device", &format!("virtio-serial-{bus},max_ports=2")]);
            add(&["-device", "virtserialport,chardev=management,name=nom.management"]);
        }
        if self.entropy {
            add(&["-device", &format!("virtio-rng-{bus}")]);
        }
        line.extend(self.further.iter().cloned());
        let mut add = |words: &[&str]| line.extend(words.iter().map(|word| word.to_string()));
        add(&["-kernel", &format!("/proc/self/fd/{kernel_fd}")]);
        if let Some(fd) = initial_fd {
            add(&["-initrd", &format!("/proc/self/fd/{fd}")]);
        }
        if let Some(text) = &self.command_line {
            add(&["-append", text]);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(plan: &Plan) -> String {
        plan.arguments(7, None, Some(8)).join(" ")
    }

    #[test]
    fn each_machine_has_its_own_buses() {
        let mut plan = Plan::new(Kind::Microvm);
        plan.forward = Some((1234, 11211));
        plan.beside = vec![(1235, Ipv4Addr::new(10, 0, 2, 16), 11212)];
        let small = line(&plan);
        assert!(small.contains("-M microvm,acpi=off -accel tcg"));
        assert!(small.contains("virtio-net-device") && small.contains("force-legacy=false"));
        assert!(
            small.contains("hostfwd=tcp:127.0.0.1:1234-:11211,hostfwd=tcp:127.0.0.1:1235-10.0.2.16:11212")
        );
        plan.kind = Kind::Q35;
        let large = line(&plan);
        assert!(large.contains("virtio-net-pci") && !large.contains("virtio-mmio"));
        assert!(large.ends_with("-kernel /proc/self/fd/7"));
    }

    #[test]
    fn the_name_of_a_device_is_one_value() {
        let mut plan = Plan::new(Kind::Microvm);
        plan.tap = Some(Tap { name: "a,script=b".into(), queues: 1 });
        assert!(line(&plan).contains("ifname=a,,script=b,script=no"));
    }

    #[test]
    fn an_unknown_machine_is_named() {
        assert_eq!(Kind::parse("q35"), Ok(Kind::Q35));
        assert!(Kind::parse("pc").unwrap_err().to_string().contains("\"pc\""));
    }
}
