using System;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;

namespace LowLevel.Perf;

/// <summary>The memory that the two sides of a ring share, and the events by which they wake each other: in one process, or a file that another
/// process maps too.
/// <code>
/// 0     the words of the exchange, a cache line each
/// 256   the word that ends the device's loop
/// 4096  the queue, then its indirect tables
/// 1 MiB what the buffers name
/// </code></summary>
internal sealed class RingMemory : IDisposable
{
    /// <summary>Descriptors of the queue, as an arena's has them.</summary>
    public const int QueueSize = 256;

    /// <summary>Chains that may be under way at one time, as many as the balloon driver has at most.</summary>
    public const int InFlightMax = 8;

    /// <summary>The longest chain.</summary>
    public const int ChainMax = 32;

    private const int Bytes = 2 << 20;
    private const int QueueOffset = 4096;
    private const int TablesOffset = 64 << 10;
    private const int StopOffset = 256;
    private const int LineBytes = 64;

    private readonly nint _mapping;
    private readonly bool _ownsMapping;
    private readonly SharedMemoryFile? _file;

    private RingMemory(nint mapping, SharedMemoryFile? file, int kick, int call)
    {
        _mapping = mapping;
        _ownsMapping = file is null;
        _file = file;
        Kick = kick;
        Call = call;
        Memory = new GuestMemory(new GuestRegion(0, Bytes, mapping));
        bool isMapped = SplitRing.TryMap(Memory, QueueSize, new VirtqueueLayout(QueueSize).PlaceAt(QueueOffset), out SplitRing ring);
        Ring = isMapped ? ring : throw new MeasurementException("the ring does not fit into its memory");
    }

    /// <summary>By guest address.</summary>
    public GuestMemory Memory { get; }

    /// <summary>The ring.</summary>
    public SplitRing Ring { get; }

    /// <summary>The driver's event.</summary>
    public int Kick { get; }

    /// <summary>The device's event.</summary>
    public int Call { get; }

    /// <summary>What another process needs of it: the file, and both events.</summary>
    public int[] Files => [_file!.File, Kick, Call];

    /// <summary>The word that ends the device's loop.</summary>
    public unsafe ref int Stop => ref *(int*)(_mapping + StopOffset);

    /// <summary>A file and two events.</summary>
    public static RingMemory Create()
    {
        SharedMemoryFile file = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, "perf-ring", Bytes);
        bool made = LinuxDescriptors.Instance.CreateEvent(out int kick) == Errno.None & LinuxDescriptors.Instance.CreateEvent(out int call) == Errno.None;
        return made ? new RingMemory(file.Mapping, file, kick, call) : throw new MeasurementException("no events for the ring");
    }

    /// <summary>Of another process.</summary>
    public static RingMemory Open(int file, int kick, int call)
    {
        Errno error = LinuxSystem.Instance.MapShared(file, 0, Bytes, MemoryProtection.ReadWrite, 0, out nint mapping);
        return error == Errno.None ? new RingMemory(mapping, null, kick, call) : throw new MeasurementException($"mmap of the ring's file: {error}");
    }

    /// <summary>The driver's side, on a cleared ring.</summary>
    public DriverQueue MakeDriver() =>
        IndirectTables.TryMap(Memory, TablesOffset, InFlightMax, ChainMax, out IndirectTables? tables)
            ? new DriverQueue(Ring, eventIndex: true, tables)
            : throw new MeasurementException("the tables do not fit into the ring's memory");

    /// <summary>The device's side.</summary>
    public DeviceQueue MakeDevice() => new(Memory, Ring, eventIndex: true, indirect: true);

    /// <summary>Buffers of a chain, none beside another.</summary>
    public static QueueBuffer[] Chain(int buffers)
    {
        QueueBuffer[] chain = new QueueBuffer[buffers];
        for (int i = 0; i < buffers; i++)
        {
            chain[i] = new QueueBuffer((1u << 20) + (uint)(i * 8192), 4096, DeviceWrites: true);
        }

        return chain;
    }

    /// <summary>A word of the exchange.</summary>
    public unsafe ref long Word(int index) => ref *(long*)(_mapping + (index * LineBytes));

    public void Dispose()
    {
        LinuxDescriptors.Instance.Close(Kick);
        LinuxDescriptors.Instance.Close(Call);
        _file?.Dispose();
        if (_ownsMapping)
        {
            LinuxSystem.Instance.Unmap(_mapping, Bytes);
        }
    }
}
