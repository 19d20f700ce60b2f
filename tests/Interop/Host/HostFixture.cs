using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Interop.Host;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>A host in this process at a socket of its own, and guests of it, which are served whenever something happens.</summary>
internal sealed class HostFixture : IDisposable
{
    public const ulong MiB = 1 << 20;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly string _folder = Directory.CreateTempSubdirectory("host").FullName;
    private readonly Signal _changed = new();
    private readonly List<HostGuest> _guests = [];
    private readonly Func<HostOptions, HostOptions> _with;

    public HostFixture(ulong budget = 1024 * MiB, Func<HostOptions, HostOptions>? with = null)
    {
        Budget = budget;
        _with = with ?? (static options => options);
        Server = Begin();
    }

    public ulong Budget { get; }

    public HostServer Server { get; private set; }

    public string SocketPath => Path.Combine(_folder, "host.sock");

    public GuestStatus this[int index] => Server.Guests[index];

    /// <summary>A guest that has connected and is served.</summary>
    public HostGuest Connect(ulong bytes = 64 * MiB, uint? poison = null, bool drops = false)
    {
        HostGuest guest = Add(bytes, poison, drops);
        Assert.True(guest.TryConnect(), guest.Transport.Failure);
        return guest;
    }

    public HostGuest Add(ulong bytes = 64 * MiB, uint? poison = null, bool drops = false, IDescriptors? descriptors = null)
    {
        HostGuest guest = new(SocketPath, bytes, _changed, poison, drops, descriptors);
        _guests.Add(guest);
        return guest;
    }

    /// <summary>Serves the guests until it is so.</summary>
    public void Until(Func<bool> isSo, string what)
    {
        Deadline deadline = new(TimeProvider.System, Patience);
        while (true)
        {
            _guests.ForEach(static guest => guest.Driver.Service());
            if (isSo())
            {
                return;
            }

            // A configuration word that a guest has written arrives when the host reads it, and nothing here tells of that.
            _changed.Wait(new Deadline(TimeProvider.System, TimeSpan.FromMilliseconds(20)));
            Assert.True(deadline.Left > TimeSpan.Zero, $"not within {Patience.TotalSeconds} s: {what}; {Describe()}");
        }
    }

    /// <summary>The host ends and another one begins.</summary>
    public void Restart()
    {
        Server.Dispose();
        Server = Begin();
    }

    public void Dispose()
    {
        _guests.ForEach(static guest => guest.Dispose());
        Server.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    public string Describe() =>
        string.Join("; ", Server.Guests.Select(static guest => guest.ToString()).Concat(Server.Ended.Select(static guest => guest.ToString())));

    private HostServer Begin()
    {
        HostOptions options = new()
        {
            Path = SocketPath,
            BudgetBytes = Budget,
            Interval = TimeSpan.FromMilliseconds(20),
            AfterRound = _ => _changed.Set(),
        };
        HostServer server = new(_with(options));
        server.Start();
        return server;
    }
}
