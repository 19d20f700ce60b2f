using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>A stress that cannot find anything proves nothing: what it looks for is planted here.</summary>
public sealed class StressCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-stress-");

    public void Dispose() => folder.Delete(recursive: true);

    [Theory]
    [InlineData("7")]
    [InlineData("2026")]
    public void A_second_of_stress_loses_nothing_and_tells_its_seed(string seed)
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "stress", "--seconds", "1", "--seed", seed, "--json", json);
        Assert.True(code == 0, output);
        Assert.Contains($"seed {seed}:", output, StringComparison.Ordinal);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement row = Assert.Single(report.RootElement.GetProperty("rows").EnumerateArray());
        Assert.True(row.GetProperty("operations").GetInt64() > 0);
        Assert.Equal(0, row.GetProperty("violations").GetInt64());
    }

    [Fact]
    public void Rounds_under_hosts_that_are_killed_lose_nothing_and_the_picture_is_drawn()
    {
        // Two minutes where every change is judged; a developer waits less.
        string seconds = Environment.GetEnvironmentVariable("CI") == "true" ? "120" : "10";
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "stress", "--seconds", seconds, "--seed", "11", "--json", json);
        Assert.True(code == 0, output);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement row = Assert.Single(report.RootElement.GetProperty("rows").EnumerateArray());
        Assert.True(row.GetProperty("hosted_rounds").GetInt32() > 0 && row.GetProperty("hosts_killed").GetInt64() > 1, output);
        byte[] picture = File.ReadAllBytes(Path.Combine(folder.FullName, "artifacts", "stress.png"));
        Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], picture[..4]);
    }

    [Fact]
    public void The_tail_is_told_for_each_operation_with_treatment_and_without()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "stress", "--latency", "--rounds", "1", "--json", json);
        Assert.True(code == 0, output);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(["allocate", "first touch", "free"], rows.Select(r => r.GetProperty("operation").GetString()));
        Assert.All(rows, r => Assert.True(r.GetProperty("treated_p50_ns").GetDouble() <= r.GetProperty("treated_p99.9_ns").GetDouble(), output));
    }

    [Theory]
    [InlineData("--rounds", "3")]
    [InlineData("--seconds", "0")]
    [InlineData("--seed", "-1")]
    [InlineData("--threads", "8")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["stress", option, value], output, error));
        Assert.Contains(option, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public unsafe void A_block_tells_a_dropped_page_a_changed_byte_and_another_s_pattern()
    {
        const int Bytes = 4 * 4096;
        byte* memory = (byte*)NativeMemory.AlignedAlloc(Bytes, 4096);
        try
        {
            var block = new StressBlock((nint)memory, Bytes, 5);
            block.Mark();
            Assert.Null(block.FindDamage());
            Assert.NotNull((block with { Ticket = 6 }).FindDamage());

            new Span<byte>(memory + 4096, 4096).Clear();
            Assert.Contains("page 1:", block.FindDamage(), StringComparison.Ordinal);
            block.Mark();
            memory[(3 * 4096) + 4095] ^= 1;
            Assert.Contains("page 3:", block.FindDamage(), StringComparison.Ordinal);

            new Span<byte>(memory, Bytes).Clear();
            Assert.Null(block.FindNonZero());
            memory[777] = 1;
            Assert.Contains("byte 777", block.FindNonZero(), StringComparison.Ordinal);
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    [Fact]
    public unsafe void A_block_that_nobody_holds_and_one_that_is_held_twice_are_violations()
    {
        StressPlan plan = StressPlan.For(3) with { HasHeap = false };
        using PageArena arena = PageArena.Create(plan.Options);
        void* block = arena.AllocatePages(2);
        Assert.Empty(Quiescence(arena, plan, held: 4 * 4096));
        Assert.Contains("hold 0 bytes, the arena says 16384", Assert.Single(Quiescence(arena, plan, held: 0)), StringComparison.Ordinal);
        Assert.Contains("hold 32768 bytes", Assert.Single(Quiescence(arena, plan, held: 8 * 4096)), StringComparison.Ordinal);
        arena.FreePages(block);
        Assert.Empty(Quiescence(arena, plan, held: 0));
    }

    [Fact]
    public void A_plan_follows_from_its_seed_and_every_option_varies()
    {
        StressPlan[] plans = [.. Enumerable.Range(0, 300).Select(i => StressPlan.For((ulong)i))];
        Assert.All(plans, p => Assert.Equal($"{p}", $"{StressPlan.For(p.Seed)}"));
        Assert.Equal([ArenaBacking.Anonymous, ArenaBacking.Memfd], plans.Select(p => p.Options.Backing).Distinct().Order());
        Assert.Equal([1, 2, 3, 4], plans.Select(p => p.Options.Zones ?? 0).Distinct().Order());
        Assert.Equal(2, plans.Select(p => p.Options.ThreadPages).Distinct().Count());
        Assert.Equal(2, plans.Select(p => p.Options.Aeration.Context).Distinct().Count());
        Assert.Equal(2, plans.Select(p => p.Options.Aeration.Discard).Distinct().Count());
        Assert.Equal(2, plans.Select(p => p.Options.Aeration.Dialect).Distinct().Count());
        Assert.Equal(12, plans.Select(p => p.Options.Aeration.MinimumOrder).Distinct().Count());
        Assert.Contains(plans, p => p.Options.Aeration.Delay == TimeSpan.Zero);
        Assert.Contains(plans, p => p.Threads > Environment.ProcessorCount);
        Assert.Contains(plans, p => !p.Options.Aeration.Enabled);
        Assert.Equal(2, plans.Select(p => p.HasHeap).Distinct().Count());
        Assert.DoesNotContain(plans, p => p.IsHosted);
        StressPlan[] hosted = [.. Enumerable.Range(0, 300).Select(i => StressPlan.For((ulong)i, "/host")).Where(p => p.IsHosted)];
        Assert.InRange(hosted.Length, 30, 150);
        Assert.Equal(2, hosted.Select(p => p.Options.Backing).Distinct().Count());
    }

    [Fact]
    public unsafe void An_object_that_somebody_else_wrote_into_is_a_violation()
    {
        using PageArena arena = PageArena.Create(new PageArenaOptions { SizeBytes = 64 << 20 });
        using var shared = new StressShared(arena, StressPlan.For(3) with { HasHeap = true });
        var objects = new StressObjects(shared);
        var random = new SplitMix(5);
        for (int i = 0; i < 1000; i++)
        {
            objects.Step(shared.Heap!, ref random);
        }

        Assert.Empty(shared.Violations);
        foreach ((nint address, int bytes, _) in objects.Live)
        {
            new Span<byte>((void*)address, bytes).Fill(0x5a); // sound: live, and so long
        }

        objects.FreeAll(shared.Heap!);
        Assert.NotEmpty(shared.Violations);
        Assert.All(shared.Violations, v => Assert.Contains("is 90 where", v, StringComparison.Ordinal));
    }

    private static string[] Quiescence(PageArena arena, StressPlan plan, long held)
    {
        using var shared = new StressShared(arena, plan);
        StressRound.Quiescence(shared, held, "here");
        return [.. shared.Violations];
    }
}
