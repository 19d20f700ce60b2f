using System;
using System.Globalization;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text.Json;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Interop.Host;
using LowLevel.Native;
using LowLevel.Tests.Packages;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>The host as its user starts it.</summary>
public sealed class HostProgramTests
{
    private const ulong MiB = HostFixture.MiB;

    [Theory]
    [InlineData("", "--listen is missing; allowed: the path of a unix socket")]
    [InlineData("--listen a", "--budget is missing; allowed: a number of bytes, or one with K, M, G or T behind it, more than 0")]
    [InlineData("--listen", "--listen has no value; allowed: the path of a unix socket")]
    [InlineData("--listen unix: --budget 1G", "--listen '' is wrong; allowed: the path of a unix socket")]
    [InlineData("--listen a --budget 1X", "--budget '1X' is wrong; allowed: a number of bytes, or one with K, M, G or T behind it, more than 0")]
    [InlineData("--listen a --budget -1", "--budget '-1' is wrong; allowed: a number of bytes, or one with K, M, G or T behind it, more than 0")]
    [InlineData("--listen a --budget 0", "--budget '0' is wrong; allowed: a number of bytes, or one with K, M, G or T behind it, more than 0")]
    [InlineData("--listen a --budget 99999999T", "--budget '99999999T' is wrong; allowed: a number of bytes, or one with K, M, G or T behind it, more than 0")]
    [InlineData("--listen a --budget 1G --policy greedy", "--policy 'greedy' is wrong; allowed: fair, equal")]
    [InlineData("--listen a --budget 1G --interval 1", "--interval '1' is wrong; allowed: 10ms to 60m, as 500ms, 1s or 2m")]
    [InlineData("--listen a --budget 1G --interval 1ms", "--interval '1ms' is wrong; allowed: 10ms to 60m, as 500ms, 1s or 2m")]
    [InlineData("--listen a --budget 1G --interval 2h", "--interval '2h' is wrong; allowed: 10ms to 60m, as 500ms, 1s or 2m")]
    [InlineData("--listen a --budget 1G --status", "--status has no value; allowed: the path of a file")]
    [InlineData("--listen a --listen b --budget 1G", "--listen is given twice; allowed: once")]
    [InlineData("--loud", "argument '--loud' is not known; allowed: --listen, --budget, --policy, --interval, --status, --json, --help")]
    public void A_wrong_argument_is_named_with_what_is_allowed(string line, string message) =>
        Assert.Equal(message, Assert.Throws<HostException>(() => HostArguments.Parse(Split(line))).Message);

    [Fact]
    public void Arguments_become_options()
    {
        HostArguments all = HostArguments.Parse(Split("--listen unix:a/b --budget 3g --policy equal --interval 250ms --status s.json --json"));
        HostOptions options = all.Options!;
        Assert.True(all.WritesJson);
        Assert.Equal(("a/b", 3072 * MiB, BudgetRule.Equal, 250.0, "s.json"),
            (options.Path, options.BudgetBytes, options.Rule, options.Interval.TotalMilliseconds, options.StatusPath));
        HostArguments least = HostArguments.Parse(Split("--listen a --budget 4096"));
        Assert.Equal((4096ul, BudgetRule.Fair, 1.0, null, false),
            (least.Options!.BudgetBytes, least.Options.Rule, least.Options.Interval.TotalSeconds, least.Options.StatusPath, least.WritesJson));
        Assert.True(HostArguments.Parse(Split("--budget --help")).Options is null && HostArguments.Parse(["--help"]).WantsHelp);
    }

    [Theory]
    [InlineData(0ul, "0 B")]
    [InlineData(1023ul, "1023 B")]
    [InlineData(1536ul, "1.5 KiB")]
    [InlineData(ulong.MaxValue, "16 EiB")]
    public void Bytes_are_written_short(ulong bytes, string text) => Assert.Equal(text, ByteSize.Format(bytes));

    [Fact]
    public void A_program_that_cannot_begin_says_why_in_one_line()
    {
        (int code, string output) = Dotnet.Run(AppContext.BaseDirectory, HostProcess.Executable, "--listen", "a", "--budget", "much");
        Assert.Equal(2, code);
        Assert.Equal("LowLevel.Host: --budget 'much' is wrong; allowed: " + ByteSize.Allowed + "\n", output);
        (code, output) = Dotnet.Run(AppContext.BaseDirectory, HostProcess.Executable, "--help");
        Assert.Equal(0, code);
        Assert.StartsWith("usage: LowLevel.Host --listen PATH --budget BYTES", output, StringComparison.Ordinal);
    }

    /// <summary>As a shell does to what it starts in the background.</summary>
    private static bool IgnoresInterrupts
    {
        get
        {
            string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
            return (ulong.Parse(line["SigIgn:".Length..].Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & 2) != 0;
        }
    }

    [Theory]
    [InlineData("TERM")]
    [InlineData("INT")]
    public void A_guest_of_the_program_is_served_until_a_signal_ends_it(string signal)
    {
        Assert.SkipWhen(signal == "INT" && IgnoresInterrupts, "These tests were started with SIGINT ignored, and whatever they start ignores it too.");
        using TemporaryFolder folder = new();
        string path = folder.Of("host.sock");
        using HostProcess host = new("--listen", path, "--budget", "1G", "--interval", "50ms");
        BeServed(host, path, 1);
        int descriptors = host.Descriptors;
        BeServed(host, path, 2);
        Assert.Equal(descriptors, host.Descriptors);
        host.End(signal);
        Assert.False(Path.Exists(path));
    }

    /// <summary>A guest that comes, has two of four MiB dropped, and goes.</summary>
    private static void BeServed(HostProcess host, string path, int number)
    {
        using (HostGuest guest = new(path, 64 * MiB))
        {
            Assert.True(guest.TryConnect(), guest.Transport.Failure);
            guest.Touch(new PageRange(new Pfn(0), 1024));
            Assert.Equal(SettleResult.Treated, guest.Report(new PageRange(new Pfn(0), 512)));
            Assert.Equal(2 * MiB, guest.ResidentBytes);
            JsonElement one = host.Until(static status => status.GetProperty("guests").EnumerateArray()
                .Any(static guest => guest.GetProperty("dropped_pages").GetInt64() == 512)).GetProperty("guests")[0];
            Assert.Equal((Environment.ProcessId, "running"), (one.GetProperty("pid").GetInt32(), one.GetProperty("state").GetString()));
        }

        host.Until(status => status.GetProperty("ended").GetArrayLength() == number);
    }

    private static string[] Split(string line) => line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
