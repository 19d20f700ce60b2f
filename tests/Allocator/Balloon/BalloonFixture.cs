using System;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>Driver and host in process over 16 MiB of real memory, touched through and through: every page begins with its
/// number plus one.</summary>
internal sealed class BalloonFixture : IDisposable
{
    public const uint Pages = 4096;
    public const ulong ArenaBytes = Pages * 4096ul;

    private readonly GuardedMapping? _guarded;
    private readonly nint _control;
    private readonly ulong _controlBytes;

    public BalloonFixture(
        HostMode mode = HostMode.Manual,
        BalloonDriverOptions? options = null,
        BalloonDeviceOptions? device = null,
        DiscardMethod method = DiscardMethod.DontNeed,
        bool start = true)
    {
        options ??= new BalloonDriverOptions();
        Memfd = -1;
        if (method == DiscardMethod.PunchHole)
        {
            Require(Os.CreateMemfd("balloon-test", (nuint)ArenaBytes, out int memfd));
            Memfd = memfd;
            Require(Os.MapShared(memfd, 0, (nuint)ArenaBytes, MemoryProtection.ReadWrite, 0, out nint shared));
            Arena = shared;
        }
        else
        {
            _guarded = new GuardedMapping((nuint)ArenaBytes);
            Arena = _guarded.Address;
        }

        Require(Os.Advise(Arena, (nuint)ArenaBytes, MemoryAdvice.NoHugePage));
        _controlBytes = BalloonControl.Bytes(options);
        Require(Os.MapAnonymous((nuint)_controlBytes, MemoryProtection.ReadWrite, out _control));
        Touch();
        BalloonMemory memory = new(Arena, ArenaBytes, Memfd, _control, _controlBytes);
        Balloon = InProcessBalloon.Create(Os, memory, method, mode, ArenaPages, options, device);
        Driver.WorkArrived = () => WorkCalls++;
        if (start && !Driver.TryRestart())
        {
            throw new InvalidOperationException("the device did not start");
        }
    }

    public FaultyOperatingSystem Os { get; } = new();

    public FakePages ArenaPages { get; } = new();

    public InProcessBalloon Balloon { get; }

    public BalloonDriver Driver => Balloon.Driver;

    public InProcessHost Host => Balloon.Host;

    public BalloonDevice Device => Balloon.Host.Device;

    public nint Arena { get; }

    public int Memfd { get; }

    public int WorkCalls { get; private set; }

    /// <summary>Keeps the mapping, for tests that leave a thread inside it.</summary>
    public bool LeaveBehind { get; set; }

    public static PageRange Block(uint first, uint pages) => new(new Pfn(first), pages);

    public unsafe uint FirstWord(uint page) => *(uint*)(Arena + (nint)(page * 4096ul));

    /// <summary>Whether each page of the block still says its number.</summary>
    public bool IsUntouched(PageRange block)
    {
        for (uint page = block.Start.Value; page < block.Start.Value + block.Pages; page++)
        {
            if (FirstWord(page) != page + 1)
            {
                return false;
            }
        }

        return true;
    }

    public int ResidentPages(PageRange block) =>
        (int)KernelView.ResidentPages(Arena + (nint)block.Start.ByteOffset, (nuint)block.Pages * 4096);

    public unsafe void Touch()
    {
        for (uint page = 0; page < Pages; page++)
        {
            *(uint*)(Arena + (nint)(page * 4096ul)) = page + 1;
        }
    }

    public void Dispose()
    {
        Os.Before = null;
        if (!Balloon.TryShutDown(TimeSpan.FromSeconds(30)) || LeaveBehind)
        {
            return;
        }

        Os.Heal();
        _guarded?.Dispose();
        Os.Unmap(_control, (nuint)_controlBytes);
        if (Memfd >= 0)
        {
            Os.Unmap(Arena, (nuint)ArenaBytes);
            Os.Close(Memfd);
        }
    }

    private static void Require(Errno errno)
    {
        if (errno != Errno.None)
        {
            throw new InvalidOperationException($"the fixture's memory: {errno}");
        }
    }
}
