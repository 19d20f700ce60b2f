using System;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>The driver's end over a unix socket: 4 MiB of arena in a memfd, every page of which begins with its number plus one, control memory in
/// another, and the balloon driver. Disposing looks that nothing is left of it.</summary>
internal sealed class WireGuest : IDisposable
{
    public const uint Pages = 1024;
    public const uint PageBytes = 4096;

    private readonly AutoResetEvent _work = new(false);
    private readonly bool _isStrict;

    /// <summary>A guest that has not connected.</summary>
    /// <param name="path">The host's socket.</param>
    /// <param name="options">What its driver asks for.</param>
    /// <param name="timeout">How long an answer may take.</param>
    /// <param name="guestDrops">It keeps its arena to itself.</param>
    /// <param name="isStrict">False: its host may have the memory for good, so it is left mapped.</param>
    public WireGuest(string path, BalloonDriverOptions? options = null, TimeSpan? timeout = null, bool guestDrops = false, bool isStrict = true)
    {
        options ??= new BalloonDriverOptions { WantedCapacity = 8, ReportsInFlight = 2 };
        _isStrict = isStrict;
        Arena = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, Name, (nuint)Pages * PageBytes);
        Control = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, Name, (nuint)BalloonControl.Bytes(options));
        ulong controlAddress = 1ul << 30;
        GuestMemory memory = new(
            new GuestRegion(0, Arena.Bytes, Arena.Mapping), new GuestRegion(controlAddress, Control.Bytes, Control.Mapping));
        SharedRegion control = new(controlAddress, Control.Bytes, Control.Mapping, Control.File);
        SharedRegion arena = new(0, Arena.Bytes, Arena.Mapping, Arena.File);
        Transport = new VhostUserTransport(
            new VhostUserTransportOptions
            {
                Path = path,
                GuestDrops = guestDrops,
                Timeout = timeout ?? ScriptedFrontend.Patience,
                Descriptors = Ledger,
            },
            guestDrops ? [control] : [arena, control]);
        Driver = new BalloonDriver(Transport, new BalloonControl(memory, controlAddress, options), Balloon, gates: null, options)
        {
            WorkArrived = () => _work.Set(),
        };
        Touch();
    }

    public string Name { get; } = $"wire-guest-{Guid.NewGuid():N}";

    public LedgerDescriptors Ledger { get; } = new();

    public SharedMemoryFile Arena { get; }

    public SharedMemoryFile Control { get; }

    /// <summary>Pages that the balloon takes.</summary>
    public FakePages Balloon { get; } = new() { Limit = Pages };

    public VhostUserTransport Transport { get; }

    public BalloonDriver Driver { get; }

    /// <summary>What the kernel keeps of the arena, pages.</summary>
    public uint ResidentPages
    {
        get
        {
            Assert.Equal(Errno.None, LinuxDescriptors.Instance.Examine(Arena.File, out FileFacts facts));
            return (uint)(facts.ResidentBytes / PageBytes);
        }
    }

    public static PageRange Block(uint first, uint pages) => new(new Pfn(first), pages);

    public bool TryStart() => Transport.TryConnect() && Driver.TryRestart();

    public void Start() => Assert.True(TryStart(), Transport.Failure);

    /// <summary>Does the worker's work whenever there is some, until this holds.</summary>
    public void ServiceUntil(Func<bool> holds)
    {
        Deadline deadline = new(TimeProvider.System, ScriptedFrontend.Patience);
        while (!holds())
        {
            Assert.True(deadline.Left > TimeSpan.Zero, Transport.Failure ?? "it does not come about");
            if (!Driver.Service())
            {
                _work.WaitOne(TimeSpan.FromMilliseconds(20));
            }
        }
    }

    /// <summary>Asks for a report's blocks until it gets them back.</summary>
    public void RevokeInTheEnd(int slot = 0) =>
        Assert.True(SpinWait.SpinUntil(() => Driver.TryRevoke(slot, TimeSpan.Zero), ScriptedFrontend.Patience));

    public unsafe void Touch()
    {
        for (uint page = 0; page < Pages; page++)
        {
            *(uint*)(Arena.Mapping + (nint)(page * PageBytes)) = page + 1;
        }
    }

    /// <summary>Whether every page of the block still says its number.</summary>
    public bool IsUntouched(PageRange block) => Count(block, static (word, page) => word == page + 1) == block.Pages;

    public bool IsZero(PageRange block) => Count(block, static (word, _) => word == 0) == block.Pages;

    public void Dispose()
    {
        bool isSafe = SpinWait.SpinUntil(
            () => Driver.TryShutDown(new Deadline(TimeProvider.System, TimeSpan.FromMilliseconds(10))), _isStrict ? ScriptedFrontend.Patience : TimeSpan.Zero);
        Transport.Dispose();
        Assert.True(isSafe || !_isStrict, "somebody has its memory");
        Arena.Dispose();
        Control.Dispose();
        Assert.Empty(Ledger.Faults);
        if (_isStrict)
        {
            Assert.Equal((0, 0), (OpenFiles.Named(Name), OpenFiles.Mapped(Name)));
        }

        _work.Dispose();
    }

    private unsafe uint Count(PageRange block, Func<uint, uint, bool> holds)
    {
        uint count = 0;
        for (uint page = block.Start.Value; page < block.Start.Value + block.Pages; page++)
        {
            count += holds(*(uint*)(Arena.Mapping + (nint)(page * PageBytes)), page) ? 1u : 0;
        }

        return count;
    }
}
