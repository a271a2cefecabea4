//! A frame's way through the program, step by step: a build of the same source that tells its steps is loaded over the live
//! maps, run once (BPF_PROG_TEST_RUN) and closed again. It is attached to nothing, and records and counts nothing.

use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::maps::Port;
use lb_common::trace::{Record, STEPS};

use super::load::{innermost, map_rows, pinned_entries, refused_object, refused_program};
use super::{Error, Features, Hook, Pins, Purpose, Sizes, maps};

/// More of a frame isn't looked at: the headers with the longest options take less, and a test run takes no more than a page less its headroom.
const MOST: usize = 3072;

/// What was told of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The steps, in order.
    pub steps: Vec<Record>,
    /// The number of the program's action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The program that tells its steps.
pub struct Tracer {
    ebpf: Ebpf,
    hook: Hook,
    /// The XDP program's name.
    native: &'static str,
    steps: Array<MapData, Record>,
    told: Array<MapData, u32>,
}

impl Tracer {
    /// Loads it over the pinned maps, for frames that come in by this interface.
    ///
    /// # Errors
    /// Nothing is pinned, or the kernel refuses it.
    pub fn open(pins: &Pins, hook: Hook, ifindex: u32) -> Result<Self, Error> {
        let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-log.o"));
        if object.is_empty() {
            return Err(Error::NoObject);
        }
        let mut loader = EbpfLoader::new();
        // Those that are pinned have the sizes that they were made with.
        for row in map_rows(Sizes { services: 1, reals: 1, slots: 1, flows: 1 }) {
            let entries = pinned_entries(pins, &row)?.ok_or_else(|| Error::map(row.name, "it isn't pinned"))?;
            loader.map_max_entries(row.name, entries).map_pin_path(row.name, pins.map(row.name));
        }
        loader.override_global("INGRESS", &ifindex, true);
        let mut ebpf = loader.load(object).map_err(refused_object)?;
        // A map of interfaces is for programs of the kind that used it first.
        let native = Purpose::Forward.program(Features::probe()?);
        match hook {
            Hook::Native => program::<Xdp>(&mut ebpf, native)?.load().map_err(refused_program)?,
            Hook::Tc => behind(&mut ebpf)?.load().map_err(refused_program)?,
        }
        let (steps, told) = (own(&mut ebpf, "steps")?, own(&mut ebpf, "told")?);
        Ok(Self { ebpf, hook, native, steps, told })
    }

    /// Runs it on a frame.
    ///
    /// # Errors
    /// The kernel refuses the frame: it is shorter than an Ethernet header.
    pub fn run(&mut self, frame: &[u8]) -> Result<Traced, Error> {
        let refused = |error: String| Error::Refused { what: "the frame".to_owned(), error };
        let frame = frame.get(..frame.len().min(MOST)).unwrap_or_default();
        for index in 0..2 {
            self.told.set(index, 0, 0).map_err(|error| Error::map("told", innermost(&error)))?;
        }
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let run = match self.hook {
            Hook::Native => program::<Xdp>(&mut self.ebpf, self.native)?.test_run(options),
            Hook::Tc => behind(&mut self.ebpf)?.test_run(options),
        };
        let run = run.map_err(|error| refused(innermost(&error)))?;
        out.truncate(run.data_size_out as usize);
        let count = self.told.get(&0, 0).map_err(|error| Error::map("told", innermost(&error)))?;
        let steps = (0..count.min(STEPS)).map(|index| self.steps.get(&index, 0)).collect::<Result<_, _>>();
        let steps = steps.map_err(|error| Error::map("steps", innermost(&error)))?;
        Ok(Traced { steps, action: run.return_value, frame: out })
    }
}

/// The MAC address that frames are addressed to on an interface; `None` where the program doesn't run there.
///
/// # Errors
/// The map can't be read.
pub fn mac_of(pins: &Pins, ifindex: u32) -> Result<Option<[u8; 6]>, Error> {
    let ports: Array<MapData, Port> = maps::open(pins, "ports")?;
    let held = ports.iter().find_map(|port| port.ok().filter(|port| port.ifindex == ifindex));
    Ok(held.map(|port| port.mac))
}

fn own<V: aya::Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<Array<MapData, V>, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::map(name, "not in its object"))?;
    Array::try_from(map).map_err(|error| Error::map(name, innermost(&error)))
}

fn behind(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, Error> {
    program(ebpf, "lb_tc")
}

fn program<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut P, Error>
where
    &'e mut P: TryFrom<&'e mut aya::programs::Program, Error = ProgramError>,
{
    let refuse = |error: String| Error::Refused { what: "the program that tells its steps".to_owned(), error };
    let program = ebpf.program_mut(name).ok_or_else(|| refuse("not in its object".to_owned()))?;
    program.try_into().map_err(|error: ProgramError| refuse(error.to_string()))
}
