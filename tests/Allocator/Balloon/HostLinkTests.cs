using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>An arena whose host is at the other end of a unix socket, both ways: the host punches a shared file, or the arena drops for itself and
/// the host counts.</summary>
public sealed class HostLinkTests
{
    private const int MaxBlock = 4 << 20;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    [Fact]
    public void A_host_elsewhere_punches_what_rests()
    {
        using SocketHost host = new();
        using Plant plant = new(host, ArenaBacking.Memfd);
        Assert.True(plant.Arena.Aerator.IsHostConnected, plant.Arena.Aerator.HostFailure);
        List<nint> blocks = plant.AllocateTouched(16);
        ulong full = host.Shared!.ResidentBytes;
        Assert.True(full >= 16 * MaxBlock);

        plant.Free(blocks);
        plant.Arena.Trim();

        Assert.True(host.Shared.ResidentBytes < MaxBlock, $"{host.Shared.ResidentBytes} of {full} bytes are left");
        Assert.Equal(16 * MaxBlock / 4096, host.Device!.Counters.DroppedPages);
        Assert.Equal(0L, plant.Arena.GetStatistics().RawBytes);
        plant.Arena.Verify();
    }

    [Fact]
    public void A_host_that_only_counts_gets_no_memory_and_the_arena_drops_for_itself()
    {
        using SocketHost host = new();
        using Plant plant = new(host, ArenaBacking.Anonymous);
        Assert.True(plant.Arena.Aerator.IsHostConnected, plant.Arena.Aerator.HostFailure);
        List<nint> blocks = plant.AllocateTouched(16);
        Assert.True(host.Shared!.Bytes < MaxBlock, "more than the rings is shared");

        plant.Free(blocks);
        plant.Arena.Trim();

        plant.PassUntil(() => plant.ResidentPages() == 0);
        Assert.Equal(0, host.Device!.Counters.Reports);
        plant.Arena.Verify();
    }

    [Theory]
    [InlineData(ArenaBacking.Memfd)]
    [InlineData(ArenaBacking.Anonymous)]
    public void A_host_that_wants_memory_gets_it_and_gives_it_back(ArenaBacking backing)
    {
        using SocketHost host = new();
        using Plant plant = new(host, backing);
        List<nint> blocks = plant.AllocateTouched(16);
        plant.Free(blocks);

        host.SetTarget(8192);
        plant.PassUntil(() => host.Device!.ActualPages == 8192);
        Assert.Equal(8192L << 12, plant.Arena.GetStatistics().InflatedBytes);
        Assert.Equal(8192, host.Device!.Counters.InflatedPages);

        // Again where the device's thread did not get to run within the timeout, and the batch came back raw.
        plant.PassUntil(() => backing == ArenaBacking.Memfd ? host.Shared!.ResidentBytes < MaxBlock : plant.ResidentPages() == 0);
        plant.Arena.Verify();

        host.SetTarget(0);
        plant.PassUntil(() => host.Device!.ActualPages == 0);
        Assert.Equal(0L, plant.Arena.GetStatistics().InflatedBytes);
        Assert.Equal(8192, host.Device!.Counters.DeflatedPages);
        plant.Arena.Verify();
    }

    [Theory]
    [InlineData(ArenaBacking.Memfd)]
    [InlineData(ArenaBacking.Anonymous)]
    public unsafe void An_arena_that_runs_out_takes_back_what_the_host_has(ArenaBacking backing)
    {
        using SocketHost host = new();
        using Plant plant = new(host, backing);
        host.SetTarget(16 * 1024);
        plant.PassUntil(() => plant.Arena.GetStatistics().InflatedBytes == 64 << 20);

        List<nint> all = plant.AllocateTouched(Plant.Mebibytes / 4);
        Assert.Equal(0L, plant.Arena.GetStatistics().InflatedBytes);
        plant.Free(all);
    }

    [Theory]
    [InlineData(ArenaBacking.Memfd)]
    [InlineData(ArenaBacking.Anonymous)]
    public void A_host_that_comes_later_is_found(ArenaBacking backing)
    {
        using SocketHost host = new(listens: false);
        using Plant plant = new(host, backing);
        Assert.False(plant.Arena.Aerator.IsHostConnected);
        Assert.Contains(host.Path, plant.Arena.Aerator.HostFailure, StringComparison.Ordinal);
        plant.Free(plant.AllocateTouched(4));
        plant.Arena.Trim();
        Assert.Equal(0L, plant.Arena.GetStatistics().RawBytes);

        host.Listen();
        plant.PassUntil(() => plant.Arena.Aerator.IsHostConnected);
        Assert.Null(plant.Arena.Aerator.HostFailure);
    }

    [Theory]
    [InlineData(ArenaBacking.Memfd)]
    [InlineData(ArenaBacking.Anonymous)]
    public void A_host_that_dies_is_done_without_and_its_successor_hears_what_is_in_the_balloon(ArenaBacking backing)
    {
        using SocketHost host = new();
        using Plant plant = new(host, backing);
        host.SetTarget(4096);
        plant.PassUntil(() => host.Device!.ActualPages == 4096);

        for (int life = 2; life < 5; life++)
        {
            host.Kill();
            plant.PassUntil(() => !plant.Arena.Aerator.IsHostConnected);
            plant.Free(plant.AllocateTouched(4));
            plant.Arena.Trim();
            Assert.Equal(0L, plant.Arena.GetStatistics().RawBytes);
            Assert.Equal(4096L << 12, plant.Arena.GetStatistics().InflatedBytes);
            plant.Arena.Verify();

            host.Listen();
            plant.PassUntil(() => host.Guests == life && plant.Arena.Aerator.IsHostConnected);
            plant.PassUntil(() => host.Device!.ActualPages == 4096);
            plant.Arena.Verify();
        }
    }

    [Fact]
    public unsafe void A_host_that_stalls_and_punches_late_hits_nothing_that_was_handed_out_again()
    {
        using SocketHost host = new();
        using Plant plant = new(host, ArenaBacking.Memfd);
        List<nint> blocks = plant.AllocateTouched(8);
        host.Stall();
        plant.Free(blocks);
        plant.Arena.Trim();

        // The host has not answered and still holds the file: its batch is nobody's.
        long held = plant.Arena.GetStatistics().QuarantinedBytes;
        Assert.True(held >= 8 * MaxBlock, $"{held} bytes are quarantined");
        plant.Arena.Verify();

        // Everything else is handed out, and written.
        List<nint> rest = plant.AllocateTouched((int)((Plant.Mebibytes << 20) - held) / MaxBlock);
        Assert.False(plant.Arena.TryAllocatePages(10, out _));
        plant.Arena.Trim();
        Assert.Equal(held, plant.Arena.GetStatistics().QuarantinedBytes);

        host.Resume();
        plant.PassUntil(() => plant.Arena.GetStatistics().QuarantinedBytes == 0);
        Assert.All(rest, block => Assert.True(plant.IsTouched(block), "a block in use was wiped"));
        plant.Arena.Verify();
        plant.Free(rest);
        plant.PassUntil(() => plant.Arena.Aerator.IsHostConnected);
        plant.Arena.Trim();
        Assert.Equal(0L, plant.Arena.GetStatistics().RawBytes);
    }

    [Fact]
    public void Treatment_goes_on_beside_what_a_stalled_host_holds()
    {
        using SocketHost host = new();
        using Plant plant = new(host, ArenaBacking.Memfd);
        List<nint> first = plant.AllocateTouched(4);
        List<nint> second = plant.AllocateTouched(4);
        host.Stall();
        plant.Free(first);
        plant.Arena.Trim();
        long held = plant.Arena.GetStatistics().QuarantinedBytes;
        Assert.NotEqual(0L, held);

        plant.Free(second);
        plant.Arena.Trim();
        Assert.Equal(0L, plant.Arena.GetStatistics().RawBytes);
        Assert.Equal(held, plant.Arena.GetStatistics().QuarantinedBytes);
        plant.Arena.Verify();
        host.Resume();
        plant.PassUntil(() => plant.Arena.GetStatistics().QuarantinedBytes == 0);
    }

    /// <summary>A small arena with a real clock and no worker: each pass is the test's, and what is free has rested.</summary>
    private sealed class Plant : IDisposable
    {
        public const int Mebibytes = 128;

        public Plant(SocketHost host, ArenaBacking backing)
        {
            PageArenaOptions options = new()
            {
                SizeBytes = Mebibytes << 20,
                CapBytes = Mebibytes << 20,
                MinFreeBytes = 0,
                ThreadPages = false,
                HugePages = HugePages.Never,
                Backing = backing,
                Host = "unix:" + host.Path,
                Aeration = new AerationOptions { Delay = TimeSpan.Zero, HostTimeout = TimeSpan.FromMilliseconds(200) },
            };
            Arena = PageArena.CreateOn(LinuxSystem.Instance, options, new TreatmentSeams(HostLink.Create, HasWorker: false));
        }

        public PageArena Arena { get; }

        public unsafe List<nint> AllocateTouched(int blocks)
        {
            List<nint> all = [];
            for (int i = 0; i < blocks; i++)
            {
                nint block = (nint)Arena.AllocatePages(10);
                for (int page = 0; page < MaxBlock; page += 4096)
                {
                    *(nint*)(block + page) = block + page;
                }

                all.Add(block);
            }

            return all;
        }

        public unsafe bool IsTouched(nint block)
        {
            for (int page = 0; page < MaxBlock; page += 4096)
            {
                if (*(nint*)(block + page) != block + page)
                {
                    return false;
                }
            }

            return true;
        }

        public unsafe void Free(List<nint> blocks)
        {
            foreach (nint block in blocks)
            {
                Arena.FreePages((void*)block);
            }
        }

        public unsafe int ResidentPages() => (int)KernelView.ResidentPages((nint)Arena.BaseAddress, Arena.SizeBytes);

        public void PassUntil(Func<bool> isDone)
        {
            bool done = SpinWait.SpinUntil(
                () =>
                {
                    Arena.Aerator.Pass();
                    return isDone();
                },
                s_patience);
            Assert.True(done, $"not within {s_patience}: {Arena.Aerator.HostFailure}");
        }

        public void Dispose() => Arena.Dispose();
    }
}
