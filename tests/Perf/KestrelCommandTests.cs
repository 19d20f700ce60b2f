using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The whole of <c>perf kestrel</c>, small and with its waits shortened; what it counts, not how long it took.</summary>
public sealed class KestrelCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-kestrel-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void Each_pool_gets_its_row_and_the_picture_is_drawn()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(
            folder.FullName, "kestrel", "--rounds", "1", "--connections", "9", "--burst-seconds", "0.3", "--idle-seconds", "0.6", "--json", json);
        Assert.True(code == 0, output);
        Assert.Contains("requests/s, ours to default", output, StringComparison.Ordinal);
        Assert.True(new FileInfo(Path.Combine(folder.FullName, "artifacts", "kestrel.png")).Length > 1000);

        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(["default", "arena"], rows.Select(r => r.GetProperty("pool").GetString()!));
        Assert.All(rows, row =>
        {
            Assert.True(row.GetProperty("requests").GetInt64() >= 9);
            Assert.True(row.GetProperty("body_bytes").GetInt64() >= 9 * KestrelBody.SmallestBytes);
            Assert.InRange(row.GetProperty("p50_milliseconds").GetDouble(), double.Epsilon, row.GetProperty("p99_milliseconds").GetDouble());
            Assert.True(row.GetProperty("peak_rss_bytes").GetInt64() >= row.GetProperty("rss_bytes_after_0.1s").GetInt64());
            Assert.Equal(JsonValueKind.Number, row.GetProperty("rss_bytes_after_0.6s").ValueKind);
        });
        Assert.Equal(JsonValueKind.Null, rows[0].GetProperty("pages_treated").ValueKind);
        Assert.Equal(JsonValueKind.Number, rows[1].GetProperty("pages_treated").ValueKind);
    }

    [Theory]
    [InlineData("--rounds", "0")]
    [InlineData("--connections", "0")]
    [InlineData("--connections", "4097")]
    [InlineData("--burst-seconds", "0")]
    [InlineData("--idle-seconds", "never")]
    [InlineData("--block-bytes", "5000")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["kestrel", option, value], output, error));
        Assert.Contains(option, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public void A_body_s_sum_is_known_beforehand_and_a_changed_bit_changes_it()
    {
        var random = new SplitMix(5);
        for (int i = 0; i < 200; i++)
        {
            ulong seed = random.Next();
            int bytes = KestrelBody.Size(ref random, 65536);
            Assert.InRange(bytes, KestrelBody.SmallestBytes, 65536);
            Assert.Equal(0, bytes % 8);
            byte[] body = new byte[bytes];
            int half = bytes / 2 & ~7;
            KestrelBody.Fill(body.AsSpan(0, half), seed, 0);
            KestrelBody.Fill(body.AsSpan(half), seed, half);
            Assert.Equal(KestrelBody.SumOf(seed, bytes), KestrelBody.Sum(body));
            body[random.Below(bytes)] ^= 1;
            Assert.NotEqual(KestrelBody.SumOf(seed, bytes), KestrelBody.Sum(body));
        }
    }

    [Fact]
    public void The_picture_is_drawn_of_any_curves_even_of_none()
    {
        List<CurvePoint> fall = [new(-5, new Usage(0, 0), 0), new(0, new Usage(300 << 20, 310 << 20), 0), new(60, new Usage(1 << 20, 1 << 20), 0)];
        Assert.True(KestrelPicture.Render([new("default", fall), new("arena", fall)]).Length > 10_000);
        Assert.True(KestrelPicture.Render([new("arena", [new(0, new Usage(1, null), 0)])]).Length > 1000);
        Assert.True(KestrelPicture.Render([]).Length > 1000);
    }
}
