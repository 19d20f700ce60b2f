using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>A real arena with its balloon driver, whose device is the input. Users allocate, write, free; the device lies meanwhile. In the end it is
/// made to behave, and then everything that the arena ever gave it must be back, and no user's byte have changed.</summary>
internal sealed class BalloonDriverTarget : IFuzzTarget
{
    private const ulong ArenaBytes = 16 << 20;
    private const int Pages = (int)(ArenaBytes / 4096);
    private const int BlocksMax = 24;
    private const int VerifyEach = 8;

    private static readonly int[] s_orders = [0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9, 10, 0, 3];

    private readonly FuzzMemory _memory = new();
    private readonly BalloonDriverOptions _options = new()
    {
        WantedCapacity = 8, ReportsInFlight = 2, ResetTimeout = TimeSpan.Zero, Clock = new StandingClock(),
    };

    private readonly List<(nint Address, int Order, ulong Stamp)> _blocks = [];
    private readonly bool[] _isUsers = new bool[Pages];
    private PageArena? _arena;
    private HostileBalloon? _balloon;
    private StandingClock _clock = new();
    private FuzzMap _map = new();
    private ulong _stamp = 1;
    private int _rings;
    private bool _isGated; // by the first input of a life

    public BalloonDriverTarget()
    {
        int pages = (int)(BalloonControl.Bytes(_options) / 4096);
        _memory.Add(ArenaBytes, pages, MemoryProtection.ReadWrite);
    }

    public string Name => "balloon-driver";

    public int InputMax => 256;

    public int RingsPerLife => 24;

    public void Renew()
    {
        if (_balloon is not null)
        {
            _balloon.Behaves = true;
        }

        if (_arena is not null)
        {
            // An arena lives until its last block has come back.
            FreeAll();
            _arena.Dispose();
        }

        _arena = null;
        _rings = 0;
        _clock = new StandingClock();
    }

    public unsafe void Run(ReadOnlySpan<byte> input, FuzzMap map)
    {
        FuzzReader reader = new(input);
        int kind = reader.Byte();
        _map = map;
        if (_arena is null)
        {
            _isGated = (kind & 1) == 0;
            Begin();
        }

        int steps = 4 + (kind >> 3);
        _balloon!.Follow(input[Math.Min(input.Length, 1 + steps)..]);
        for (int i = 0; i < steps; i++)
        {
            Step(reader.Byte());
            _balloon.Act();
        }

        Note();
        if ((kind & 6) == 0)
        {
            return; // on as it is: the next input finds what this one has left behind
        }

        MakeItBehave();
        foreach ((nint address, int order, ulong stamp) in _blocks)
        {
            Looks(address, order, stamp);
        }

        if (++_rings % VerifyEach == 0 || (kind & 6) == 2)
        {
            FreeAll();
            _arena!.Verify();
            LooksWhole();
        }
    }

    public void Dispose()
    {
        Renew();
        _memory.Dispose();
    }

    private void Begin()
    {
        Array.Clear(_isUsers);
        _blocks.Clear();
        var options = new PageArenaOptions
        {
            SizeBytes = (nuint)ArenaBytes,
            CapBytes = (nuint)ArenaBytes,
            MinFreeBytes = 0,
            HugePages = HugePages.Never,
            Zones = 1,
            Aeration = new AerationOptions
            {
                Delay = TimeSpan.Zero, HostTimeout = TimeSpan.FromMilliseconds(1), ReactorCapacity = 8, Clock = _clock, MinimumOrder = 3, RespondToPressure = false,
            },
        };
        BalloonDriverOptions driver = _options with { Clock = _clock };
        _arena = PageArena.CreateOn(
            LinuxSystem.Instance, options,
            new TreatmentSeams((arena, _) => _balloon = new HostileBalloon(arena, driver, _memory, _isGated, IsFree), HasWorker: false));
    }

    private bool IsFree(GuestRange range)
    {
        if (range.Address > ArenaBytes || range.Bytes > ArenaBytes - range.Address)
        {
            return false;
        }

        return !_isUsers.AsSpan((int)(range.Address / 4096), (int)(range.Bytes / 4096)).Contains(true);
    }

    private unsafe void Step(int step)
    {
        switch (step % 8)
        {
            case 0 or 1:
                Allocate(s_orders[(step >> 3) & 15], (step & 128) != 0 ? AllocationFlags.Zeroed : AllocationFlags.None);
                break;
            case 2 or 3 when _blocks.Count > 0:
                Free((step >> 3) % _blocks.Count);
                break;
            case 4 or 5:
                _clock.Move();
                _arena!.Aerator.Pass();
                break;
            case 6:
                _arena!.Trim();
                break;
            case 7 when step >= 248:
                _arena!.Aerator.Stop();
                _arena.Aerator.Start();
                break;
            default:
                _balloon!.Service();
                break;
        }
    }

    private unsafe void Allocate(int order, AllocationFlags flags)
    {
        if (_blocks.Count == BlocksMax || !_arena!.TryAllocatePages(order, out void* block, MigrateType.Unmovable, flags))
        {
            return;
        }

        var address = (nint)block;
        int first = (int)((address - (nint)_arena.BaseAddress) / 4096);
        for (int i = 0; i < 1 << order; i++)
        {
            FuzzFinding.Require(!_isUsers[first + i], $"page {first + i} was given to two users");
            _isUsers[first + i] = true;

            if (!IsWritten(i, order))
            {
                continue;
            }

            // Sound: the block is this user's.
            ulong* word = (ulong*)(address + (i * 4096));
            FuzzFinding.Require((flags & AllocationFlags.Zeroed) == 0 || *word == 0, $"page {first + i} should be zero and is {*word:x}");
            *word = _stamp + (ulong)i;
        }

        _blocks.Add((address, order, _stamp));
        _stamp += 1ul << order;
    }

    private unsafe void Free(int index)
    {
        (nint address, int order, ulong stamp) = _blocks[index];
        Looks(address, order, stamp);
        _blocks.RemoveAt(index);
        int first = (int)((address - (nint)_arena!.BaseAddress) / 4096);
        Array.Clear(_isUsers, first, 1 << order);
        _arena.FreePages((void*)address);
    }

    private void FreeAll()
    {
        while (_blocks.Count > 0)
        {
            Free(_blocks.Count - 1);
        }
    }

    /// <summary>A touch is a page fault: the first pages of a block and its last stand for all.</summary>
    private static bool IsWritten(int page, int order) => page < 8 || page == (1 << order) - 1;

    /// <summary>A block says in its pages what its user wrote.</summary>
    private static unsafe void Looks(nint address, int order, ulong stamp)
    {
        for (int i = 0; i < 1 << order; i++)
        {
            if (!IsWritten(i, order))
            {
                continue;
            }

            ulong expected = stamp + (ulong)i;
            ulong found = *(ulong*)(address + (i * 4096));
            FuzzFinding.Require(found == expected, $"page {i} of a block of order {order} says {found}, its user wrote {expected}");
        }
    }

    private void Note()
    {
        ArenaStatistics now = _arena!.GetStatistics();
        _map.Note(1, (int)_balloon!.Driver.Fault + (_balloon.Driver.IsOutOfService ? 16 : 0));
        _map.Note(2, (now.QuarantinedBytes != 0 ? 1 : 0) + (now.InflatedBytes != 0 ? 2 : 0) + (now.TreatedBytes != 0 ? 4 : 0) + (now.InReactorBytes != 0 ? 8 : 0));
        _map.Note(3, (int)Math.Min(_arena.Aerator.LostBatches, 7));
        _map.Note(4, (int)((ulong)_balloon.Driver.Features & 63));
        _map.Note(5, (int)Math.Min(_balloon.Driver.MovingPages / 64, 15));
    }

    /// <summary>The device is reset and keeps to the standard, and wants nothing in the balloon.</summary>
    private void MakeItBehave()
    {
        _balloon!.Behaves = true;
        _balloon.Driver.TryTakeDown(TimeSpan.Zero);
        _balloon.SetTarget(0);
        for (int i = 0; i < 3; i++)
        {
            _clock.Move();
            _arena!.Aerator.Pass();
        }

        for (int i = 0; i < 64 && (_balloon.Driver.InflatedPages != 0 || _balloon.Driver.MovingPages != 0); i++)
        {
            _balloon.Service();
        }

        _arena!.Aerator.Stop();
        _arena.Aerator.Start();
        _arena.Trim();
        ArenaStatistics now = _arena.GetStatistics();
        FuzzFinding.Require(
            (now.QuarantinedBytes, now.InReactorBytes, now.InflatedBytes) == (0, 0, 0) && _balloon.Driver.MovingPages == 0,
            $"the device behaves, and {now.QuarantinedBytes} bytes are in quarantine, {now.InReactorBytes} in the reactor, {now.InflatedBytes} in the balloon");
    }

    private void LooksWhole()
    {
        ArenaStatistics now = _arena!.GetStatistics();
        long sum = now.UnreachedBytes + now.ThreadPagesBytes + now.RawBytes + now.TreatedBytes;
        FuzzFinding.Require(
            now.AllocatedBytes == 0 && sum == (long)ArenaBytes,
            $"{(long)ArenaBytes - sum} bytes have no owner, {now.AllocatedBytes} a user although all are gone");
    }
}
