using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Interop.Host;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>How a host begins and ends, whom it takes, and what it says of itself.</summary>
public sealed class HostLifeTests
{
    private const ulong MiB = HostFixture.MiB;
    private const uint PagesPerMiB = 256;

    [Fact]
    public void A_guest_too_many_is_turned_away_with_a_reason()
    {
        using HostFixture host = new(with: static options => options with { GuestsMax = 1 });
        HostGuest first = host.Connect();
        HostGuest second = host.Add();
        Assert.False(second.TryConnect());
        host.Until(() => host.Server.Ended.Count == 1, "it is on record");
        Assert.Equal("turned away: 1 guests are served already", Assert.Single(host.Server.Ended).Reason);
        first.Transport.Dispose();
        host.Until(() => host.Server.Guests.Count == 0, "the first has gone");
        Assert.True(second.TryConnect(), second.Transport.Failure);
    }

    [Fact]
    public void A_guest_that_takes_memory_out_of_its_balloon_is_heard_at_once()
    {
        using HostFixture host = new(budget: 100 * MiB, with: static options => options with { Interval = TimeSpan.FromHours(1) });
        HostGuest guest = host.Connect(192 * MiB);

        // An eighth, for there is no second round.
        host.Until(() => host[0].TargetPages >= 24 * PagesPerMiB && host[0].ActualPages == host[0].TargetPages, "the first step");
        guest.Pages.IsShort = true;
        Assert.True(guest.Driver.Deflate(8 * PagesPerMiB) >= 8 * PagesPerMiB);
        host.Until(() => host[0].TargetPages <= guest.Driver.InflatedPages, "the host wants no more than it has left");
        Assert.InRange(host[0].TargetPages, 0u, (16 * PagesPerMiB) + 2);
    }

    [Fact]
    public void A_guest_that_drops_for_itself_is_directed_and_counted()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect(drops: true);
        guest.Touch(new PageRange(new Pfn(0), 1024));
        host.Until(() => host[0].State == GuestState.Running, "running");
        Assert.Equal(GuestKind.Own, host[0].Kind);
        Assert.InRange(host[0].SharedBytes, 1u, 2 * MiB);
        Assert.InRange(host[0].ResidentBytes, 8 * MiB, ulong.MaxValue);
        host.Server.SetTarget(host[0].Id, 2 * PagesPerMiB);
        host.Until(() => host[0].ActualPages == 2 * PagesPerMiB, "inflated");
        Assert.Equal((2 * PagesPerMiB, 2 * PagesPerMiB), (host[0].InflatedPages, host[0].DroppedPages));
        Assert.Equal(4 * MiB, guest.ResidentBytes);
    }

    [Fact]
    public void Pressure_tightens_the_budget_and_its_end_gives_it_back()
    {
        FaultyOperatingSystem system = new() { Memory = static () => new MemoryReading(null, null, null, StalledPercent: 50) };
        using HostFixture host = new(budget: 128 * MiB, with: options => options with { System = system, Interval = TimeSpan.FromMilliseconds(10) });
        HostGuest guest = host.Connect(128 * MiB);
        host.Until(() => host.Server.Status.EffectiveBytes == 64 * MiB && guest.Driver.InflatedPages >= 62 * PagesPerMiB, "half of it is left");
        system.Memory = static () => default;
        host.Until(() => host.Server.Status.EffectiveBytes == 128 * MiB && guest.Driver.InflatedPages == 0, "all of it is back");
    }

    [Fact]
    public void A_fixed_target_stays_until_it_is_let_go()
    {
        using HostFixture host = new(budget: 1024 * MiB);
        HostGuest guest = host.Connect();
        host.Until(() => host[0].State == GuestState.Running, "running");
        host.Server.SetTarget(host[0].Id, 1000);
        long round = host.Server.Status.Round;
        host.Until(() => host[0].ActualPages == 1000 && host.Server.Status.Round > round + 3, "it stays for some rounds");
        Assert.True(host[0].IsFixed);
        host.Server.SetTarget(host[0].Id, null);
        host.Until(() => guest.Driver.InflatedPages == 0 && host[0].ActualPages == 0, "it follows the budget again");
    }

    [Fact]
    public void A_socket_that_a_host_left_behind_is_replaced_and_removed_at_the_end()
    {
        using TemporaryFolder folder = new();
        string path = folder.Of("host.sock");
        using (Socket dead = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(path));
            using HostServer server = new(new HostOptions { Path = path, BudgetBytes = MiB });
            server.Start();
            Assert.NotNull(UnixSockets.TryConnect(path, out _));
        }

        Assert.False(Path.Exists(path));
    }

    [Fact]
    public void A_path_that_is_not_to_be_had_is_left_alone_and_said()
    {
        using HostFixture host = new();
        Assert.Contains("another host answers there", Refusal(host.SocketPath), StringComparison.Ordinal);
        Assert.NotNull(UnixSockets.TryConnect(host.SocketPath, out _));
        using TemporaryFolder folder = new();
        File.WriteAllText(folder.Of("file"), "kept");
        Assert.Contains("there is something that is no socket", Refusal(folder.Of("file")), StringComparison.Ordinal);
        Assert.Equal("kept", File.ReadAllText(folder.Of("file")));
        Assert.Contains("no socket", Refusal(folder.Of("")), StringComparison.Ordinal);
        Assert.Contains("cannot listen at", Refusal(folder.Of("no/folder")), StringComparison.Ordinal);
        Assert.Contains("cannot listen at", Refusal(folder.Of(new string('x', 200))), StringComparison.Ordinal);

        static string Refusal(string path)
        {
            using HostServer server = new(new HostOptions { Path = path, BudgetBytes = 1 });
            return Assert.Throws<HostException>(server.Start).Message;
        }
    }

    [Fact]
    public void The_status_is_written_whole_each_round_and_says_what_is()
    {
        using TemporaryFolder folder = new();
        using HostFixture host = new(budget: 512 * MiB, with: options => options with { StatusPath = folder.Of("status.json") });
        HostGuest guest = host.Connect();
        guest.Use(3 * MiB);
        host.Until(() => Read().GetProperty("guests") is { } guests && guests.GetArrayLength() == 1
            && guests[0].GetProperty("used_bytes").GetUInt64() == 3 * MiB, "the status says what is used");
        JsonElement status = Read();
        Assert.Equal(512 * MiB, status.GetProperty("budget_bytes").GetUInt64());
        Assert.Equal(("fair", false), (status.GetProperty("policy").GetString(), status.GetProperty("over_budget").GetBoolean()));
        JsonElement one = status.GetProperty("guests")[0];
        Assert.Equal(("memfd", "running"), (one.GetProperty("kind").GetString(), one.GetProperty("state").GetString()));
        Assert.Equal(64 * MiB, one.GetProperty("statistics").GetProperty("TotalMemory").GetUInt64());
        guest.Transport.Dispose();
        host.Until(() => Read().GetProperty("ended").GetArrayLength() == 1, "the status says who has gone");
        Assert.Equal(["status.json"], Directory.EnumerateFiles(folder.Of("")).Select(Path.GetFileName));

        JsonElement Read() => File.Exists(folder.Of("status.json"))
            ? JsonDocument.Parse(File.ReadAllText(folder.Of("status.json"))).RootElement
            : JsonDocument.Parse("""{"guests":[],"ended":[]}""").RootElement;
    }

    [Fact]
    public void The_meter_gives_the_figures_of_the_host_and_of_each_guest()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect();
        guest.Touch(new PageRange(new Pfn(0), 512));
        guest.Report(new PageRange(new Pfn(0), 512));
        host.Until(() => host.Server.Status.Guests is [{ Reports: 1, TotalBytes: 64 * MiB }], "a round has seen the report");
        using HostMeter meter = new(() => host.Server.Status);
        Dictionary<string, (long Value, string? Unit, object? Guest)> seen = [];
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, one) =>
        {
            if (instrument.Meter.Name == HostMeter.Name)
            {
                one.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => seen[instrument.Name] = (value, instrument.Unit, tags.IsEmpty ? null : tags[0].Value));
        listener.SetMeasurementEventCallback<int>((instrument, value, _, _) => seen[instrument.Name] = (value, instrument.Unit, null));
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Equal(((long)(1024 * MiB), "By", null), seen["lowlevel.host.budget"]);
        Assert.Equal((1, "{guest}", null), seen["lowlevel.host.guests"]);
        Assert.Equal(((long)(64 * MiB), "By", host[0].Id), seen["lowlevel.host.guest.total"]);
        Assert.Equal(((long)(2 * MiB), "By", host[0].Id), seen["lowlevel.host.guest.dropped"]);
        Assert.Equal((1, "{report}", host[0].Id), seen["lowlevel.host.guest.reports"]);
    }

    [Fact]
    public void Text_says_what_has_changed_once()
    {
        HostStatus status = new()
        {
            Round = 1,
            BudgetBytes = 1024 * MiB,
            EffectiveBytes = 1024 * MiB,
            Rule = BudgetRule.Fair,
            IsOver = false,
            ResidentBytes = 0,
            Guests = [new GuestStatus { Id = 7, ProcessId = 70, Kind = GuestKind.Own, State = GuestState.Running, TotalBytes = 64 * MiB, TargetPages = 512 }],
            Ended = [],
        };
        StatusText text = new();
        Assert.Equal(["guest 7 (process 70) running, own: total 64 MiB, resident 0 B, used 0 B, target 2 MiB, actual 0 B"], text.Changes(status));
        Assert.Empty(text.Changes(status with { Round = 2 }));
        HostStatus later = status with { Guests = [], Ended = [new EndedGuest(7, 70, "it lied", true)], IsOver = true, EffectiveBytes = 960 * MiB };
        Assert.Equal(
            ["guest 7 (process 70) cut off: it lied", "the guests use more than the budget", "memory is short: the budget is tightened"], text.Changes(later));
        Assert.Empty(text.Changes(later));
        Assert.Contains("960 MiB of 1 GiB, fair, resident 0 B, guests 0, OVER BUDGET", StatusText.Table(later), StringComparison.Ordinal);
        Assert.Contains("64 MiB", StatusText.Table(status), StringComparison.Ordinal);
    }
}

/// <summary>A folder for one test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    private readonly string _path = Directory.CreateTempSubdirectory("host").FullName;

    public string Of(string name) => Path.Combine(_path, name);

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
