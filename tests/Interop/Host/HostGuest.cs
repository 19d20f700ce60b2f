using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;

namespace LowLevel.Tests.Interop.Host;

/// <summary>A guest of a host: two memory files, a driver over vhost-user, and pages that say what the test wants them to say.</summary>
internal sealed class HostGuest : IDisposable
{
    public const int PageBytes = 4096;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly SharedMemoryFile _control;
    private ulong _touched;

    /// <param name="path">The host's socket.</param>
    /// <param name="bytes">Length of the arena.</param>
    /// <param name="changed">Set when the driver has something to do.</param>
    /// <param name="poison">What free pages hold and must keep.</param>
    /// <param name="drops">The arena is not shared: the guest drops its pages itself.</param>
    /// <param name="descriptors">What the driver's side asks of the system, and what fails of it; then it waits for nobody long.</param>
    public HostGuest(string path, ulong bytes, Signal? changed = null, uint? poison = null, bool drops = false, IDescriptors? descriptors = null)
    {
        BalloonDriverOptions options = new() { PoisonValue = poison, ResetTimeout = Patience };
        ulong controlBytes = BalloonControl.Bytes(options);
        Arena = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, Name, (nuint)bytes);
        _control = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, "guest control", (nuint)controlBytes);
        SharedRegion control = new(bytes, controlBytes, _control.Mapping, _control.File);
        Regions = drops ? [control] : [new SharedRegion(0, bytes, Arena.Mapping, Arena.File), control];
        GuestMemory memory = new(
            new GuestRegion(0, bytes, Arena.Mapping), new GuestRegion(bytes, controlBytes, _control.Mapping));
        VhostUserTransportOptions wire = new()
        {
            Path = path,
            Timeout = descriptors is null ? Patience : TimeSpan.FromSeconds(1),
            GuestDrops = drops,
            Descriptors = descriptors ?? LinuxDescriptors.Instance,
        };
        Transport = new VhostUserTransport(wire, Regions);
        Pages = new StatedPages(bytes);
        Driver = new BalloonDriver(Transport, new BalloonControl(memory, bytes, options), Pages, gates: null, options)
        {
            WorkArrived = () => changed?.Set(),
        };
    }

    /// <summary>Name of the arena's file, as the kernel shows it.</summary>
    public string Name { get; } = "guest " + Guid.NewGuid();

    public SharedMemoryFile Arena { get; }

    public IReadOnlyList<SharedRegion> Regions { get; }

    public VhostUserTransport Transport { get; }

    public StatedPages Pages { get; }

    public BalloonDriver Driver { get; }

    /// <summary>Bytes that the kernel keeps for the arena.</summary>
    public ulong ResidentBytes =>
        LinuxDescriptors.Instance.Examine(Arena.File, out FileFacts facts) == Errno.None ? facts.ResidentBytes : throw new InvalidOperationException();

    public bool TryConnect() => Transport.TryConnect() && Driver.TryRestart();

    /// <summary>Writes so many bytes at the arena's end, and says that they are used; the balloon takes from its start.</summary>
    public unsafe void Use(ulong bytes)
    {
        for (ulong at = Pages.TotalBytes - bytes; at < Pages.TotalBytes - _touched; at += PageBytes)
        {
            // Sound: inside the mapping of the arena.
            Unsafe.Write((byte*)Arena.Mapping + at, (byte)1);
        }

        _touched = Math.Max(_touched, bytes);
        Pages.UsedBytes = bytes;
    }

    /// <summary>Writes the blocks full.</summary>
    public unsafe void Touch(params ReadOnlySpan<PageRange> blocks)
    {
        foreach (PageRange block in blocks)
        {
            // Sound: as above.
            new Span<byte>((byte*)Arena.Mapping + block.Start.ByteOffset, checked((int)(block.Pages * PageBytes))).Fill(0xAA);
        }
    }

    public unsafe byte FirstByte(PageRange block) => ((byte*)Arena.Mapping)[block.Start.ByteOffset];

    /// <summary>Reports the blocks and waits for the answer.</summary>
    public SettleResult Report(params ReadOnlySpan<PageRange> blocks) =>
        Driver.React(blocks, 0) ? Driver.Settle(Patience, out _) : SettleResult.Failed;

    public void Dispose()
    {
        Driver.TryShutDown(new Deadline(TimeProvider.System, TimeSpan.Zero));
        Transport.Dispose();
        Arena.Dispose();
        _control.Dispose();
    }
}

/// <summary>Pages as <see cref="FakePages"/> hands them out, with statistics as an arena's.</summary>
internal sealed class StatedPages(ulong totalBytes) : IBalloonPages
{
    private readonly FakePages _pages = new() { Limit = uint.MaxValue };

    public ulong TotalBytes { get; } = totalBytes;

    public ulong UsedBytes { get; set; }

    public bool IsShort { get; set; }

    /// <summary>Added to the number of each page that the balloon takes: such pages are none of the guest's.</summary>
    public uint LiesBy { get; set; }

    public bool TryTake(Order order, out Pfn head)
    {
        head = default;
        bool isTaken = (_pages.TakenPages + order.Pages) * (ulong)HostGuest.PageBytes <= TotalBytes - UsedBytes && _pages.TryTake(order, out head);
        head = new Pfn(head.Value + LiesBy);
        return isTaken;
    }

    public void Give(Pfn head, Order order) => _pages.Give(new Pfn(head.Value - LiesBy), order);

    public int Fill(Span<BalloonStat> statistics)
    {
        statistics[0] = new BalloonStat { Tag = (ushort)BalloonStatTag.TotalMemory, Val = TotalBytes };
        ulong free = TotalBytes - UsedBytes;
        statistics[1] = new BalloonStat
        {
            Tag = (ushort)BalloonStatTag.AvailableMemory,
            Val = free - Math.Min(free, _pages.TakenPages * (ulong)HostGuest.PageBytes),
        };
        return 2;
    }
}
