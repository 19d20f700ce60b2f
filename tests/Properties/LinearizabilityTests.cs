using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>What real threads saw of a budget, an arena and a ring could have come from one call after another. LOWLEVEL_HISTORIES says how many
/// histories of each; without it, few.</summary>
public sealed class LinearizabilityTests
{
    private static int Histories =>
        Environment.GetEnvironmentVariable("LOWLEVEL_HISTORIES") is { Length: > 0 } text ? int.Parse(text, CultureInfo.InvariantCulture) : 400;

    private sealed record Pages(long Taken, long Cap);

    private sealed record Owned(ulong Bits);

    private sealed record Line(string Tokens);

    [Fact]
    public void The_checker_refuses_a_history_that_no_order_explains()
    {
        Call[] both = [new Call(0, "take", 2, 1, 1, 2), new Call(1, "take", 2, 1, 3, 4)];
        Assert.False(Linearizability.Holds(both, new Pages(0, 3), Budgeted));
        Assert.True(Linearizability.Holds(both, new Pages(0, 4), Budgeted));
        Assert.False(Linearizability.Holds([new Call(0, "release", 2, 0, 5, 6), .. both], new Pages(0, 3), Budgeted)); // too late to help
        Call[] meanwhile = [new Call(0, "take", 2, 1, 1, 2), new Call(0, "release", 2, 0, 3, 7), new Call(1, "take", 2, 1, 4, 5)];
        Assert.True(Linearizability.Holds(meanwhile, new Pages(0, 3), Budgeted));
    }

    [Fact]
    public void Takes_and_releases_of_a_budget_are_one_after_another()
    {
        for (int i = 0; i < Histories; i++)
        {
            Budget budget = new(4, Watermarks.For(4, 0));
            Random random = new(i);
            Func<(string, long, long)>[] user = Users(budget, random);
            Func<(string, long, long)>[] other = Users(budget, random);
            List<Call> calls = Linearizability.Record(user, other, Users(budget, random));
            Assert.True(Linearizability.Holds(calls, new Pages(0, 4), Budgeted), $"seed {i}:\n{string.Join('\n', calls)}");
        }
    }

    [Fact]
    public unsafe void Blocks_of_a_small_arena_have_one_owner_and_are_refused_only_when_all_are_taken()
    {
        using FakeBalloon balloon = new();
        using PageArena arena = PageArena.CreateOn(
            LinuxSystem.Instance,
            new PageArenaOptions
            {
                SizeBytes = 16 << 20, CapBytes = 3 << 12, MinFreeBytes = 0, Zones = 1, ThreadPages = false, HugePages = HugePages.Never,
                Aeration = new AerationOptions { Enabled = false },
            },
            balloon.Seams());
        byte* start = arena.BaseAddress;
        for (int i = 0; i < Histories; i++)
        {
            Func<(string, long, long)>[] user = Users();
            List<Call> calls = Linearizability.Record(user, Users(), Users());
            Assert.True(Linearizability.Holds(calls, new Owned(0), Allocated), "owners:\n" + string.Join('\n', calls));
            Assert.True(Linearizability.Holds(calls, new Pages(0, 3), Counted), "counts:\n" + string.Join('\n', calls));
            Assert.Equal(0ul, arena.Budget.TakenPages);
        }

        Func<(string, long, long)>[] Users()
        {
            Stack<nint> mine = [];
            (string, long, long) Take()
            {
                bool got = arena.TryAllocatePages(0, out void* block);
                if (got)
                {
                    mine.Push((nint)block);
                }

                return ("take", 0, got ? (long)((byte*)block - start) >> PageblockLimits.PageShift : -1);
            }

            (string, long, long) Give()
            {
                if (!mine.TryPop(out nint block))
                {
                    return ("nothing", 0, 0);
                }

                arena.FreePages((void*)block);
                return ("give", (long)((byte*)block - start) >> PageblockLimits.PageShift, 0);
            }

            return [Take, Take, Give, Take, Give, Give];
        }
    }

    [Fact]
    public void Requests_pass_a_ring_in_order_and_it_is_empty_only_when_it_is()
    {
        for (int i = 0; i < Histories; i++)
        {
            using RingFixture ring = new(2, eventIndex: i % 2 == 0);
            DriverQueue driver = ring.Driver;
            ulong next = 0;
            (string, long, long) Put()
            {
                bool put = driver.TryAdd([new QueueBuffer(64 * next, 64, DeviceWrites: true)], next);
                driver.Publish();
                return ("put", put ? (long)next++ : -1, put ? 1 : 0);
            }

            (string, long, long) Get() => ("get", 0, ring.Device.TryTake(ring.Chain) ? (long)(ring.Chain.Buffers[0].Address / 64) : -1);
            List<Call> calls = Linearizability.Record([Put, Put, Put], [Get, Get, Get, Get]);
            Assert.True(Linearizability.Holds(calls, new Line(string.Empty), Queued), string.Join('\n', calls));
        }
    }

    private static Func<(string, long, long)>[] Users(Budget budget, Random random)
    {
        Stack<long> mine = [];
        long[] pages = [1 + random.Next(3), 1 + random.Next(3)];
        (string, long, long) Take(long wanted)
        {
            bool got = budget.TryTake((ulong)wanted, default);
            if (got)
            {
                mine.Push(wanted);
            }

            return ("take", wanted, got ? 1 : 0);
        }

        (string, long, long) Give()
        {
            if (!mine.TryPop(out long taken))
            {
                return ("nothing", 0, 0);
            }

            budget.Release((ulong)taken);
            return ("release", taken, 0);
        }

        return [() => Take(pages[0]), Give, () => Take(pages[1]), Give];
    }

    private static Pages? Budgeted(Pages now, Call call) => call.What switch
    {
        "take" when call.Result == 1 => now.Taken + call.Argument <= now.Cap ? now with { Taken = now.Taken + call.Argument } : null,
        "take" => now.Taken + call.Argument > now.Cap ? now : null,
        "release" => now with { Taken = now.Taken - call.Argument },
        _ => now,
    };

    /// <summary>Three blocks may be taken. A take counts from the moment that the cap lets it, and gets its block, maybe one that comes back
    /// meanwhile, a moment later: so counts and owners are looked at each for itself.</summary>
    private static Pages? Counted(Pages now, Call call) => call.What switch
    {
        "take" when call.Result < 0 => now.Taken == now.Cap ? now : null,
        "take" => now.Taken < now.Cap ? now with { Taken = now.Taken + 1 } : null,
        "give" => now with { Taken = now.Taken - 1 },
        _ => now,
    };

    private static Owned? Allocated(Owned now, Call call) => call.What switch
    {
        "take" when call.Result < 0 => now,
        "take" when call.Result >= 64 || (now.Bits & (1ul << (int)call.Result)) != 0 => null,
        "take" => new Owned(now.Bits | (1ul << (int)call.Result)),
        "give" => (now.Bits & (1ul << (int)call.Argument)) != 0 ? new Owned(now.Bits & ~(1ul << (int)call.Argument)) : null,
        _ => now,
    };

    private static Line? Queued(Line now, Call call) => call.What switch
    {
        "put" when call.Result == 1 => new Line(now.Tokens + (char)('0' + call.Argument)),
        "put" => now,
        _ when call.Result < 0 => now.Tokens.Length == 0 ? now : null,
        _ => now.Tokens.Length != 0 && now.Tokens[0] == (char)('0' + call.Result) ? new Line(now.Tokens[1..]) : null,
    };
}
