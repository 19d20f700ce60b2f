using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>The operating system's descriptors, with an account of who owns what: each that came to its user must be closed once, and none may be
/// used after that, when its number may be somebody else's. Sockets are closed by the class library, so for them the kernel is asked.
/// Thread-safe.</summary>
internal sealed class LedgerDescriptors : IDescriptors
{
    private readonly Lock _guard = new();
    private readonly Dictionary<int, string> _open = [];
    private readonly List<(int Fd, string Socket)> _sockets = [];
    private readonly List<string> _faults = [];

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    /// <summary>Runs before a message is sent, outside any lock.</summary>
    public Action? BeforeSend { get; set; }

    /// <summary>A socket on which, once it was silent, this message always comes once more; the first of the last pair where it is set to that.</summary>
    public int EndlessOn { get; set; } = -1;

    /// <summary>The message.</summary>
    public byte[] Endless { get; set; } = [];

    /// <summary>The first of the pair of sockets that was made last.</summary>
    public int FirstOfPair { get; private set; } = -1;

    /// <summary>Events that can be had from now on.</summary>
    public int EventsAllowed { get; set; } = int.MaxValue;

    /// <summary>What is still open, and what was closed or used although it was not.</summary>
    public IReadOnlyList<string> Faults
    {
        get
        {
            lock (_guard)
            {
                IEnumerable<string> left = _open.Select(one => $"{one.Key} is open: {one.Value}");
                IEnumerable<string> sockets = _sockets.Where(one => Link(one.Fd) == one.Socket).Select(one => $"{one.Fd} is open: {one.Socket}");
                return [.. _faults, .. left, .. sockets];
            }
        }
    }

    public Errno CreateEvent(out int fd)
    {
        if (EventsAllowed-- <= 0)
        {
            fd = -1;
            return Errno.EMFILE;
        }

        return Note(Os.CreateEvent(out fd), fd);
    }

    public Errno CreateSocketPair(out int first, out int second)
    {
        Errno error = Os.CreateSocketPair(out first, out second);
        FirstOfPair = first;
        Note(error, first);
        return Note(error, second);
    }

    public Errno Signal(int fd) => Use(fd, Os.Signal, nameof(Signal));

    public Errno Drain(int fd) => Use(fd, Os.Drain, nameof(Drain));

    public Errno AdoptEvent(int fd) => Use(fd, Os.AdoptEvent, nameof(AdoptEvent));

    public Errno Poll(Span<PollEntry> entries, int milliseconds, out int ready) => Os.Poll(entries, milliseconds, out ready);

    public Errno Send(int socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> files, out int sent)
    {
        BeforeSend?.Invoke();
        return Os.Send(socket, bytes, files, out sent);
    }

    public Errno Receive(int socket, Span<byte> bytes, Span<int> files, out int received, out int count)
    {
        Errno error = Os.Receive(socket, bytes, files, out received, out count);
        for (int i = 0; i < count; i++)
        {
            Note(error, files[i]);
        }

        if (error == Errno.EAGAIN && socket == EndlessOn)
        {
            received = Endless.Length;
            Endless.CopyTo(bytes);
            return Errno.None;
        }

        return error;
    }

    public Errno Reopen(int fd, out int another) => Note(Os.Reopen(fd, out another), another);

    public Errno IsAlone(int fd) => Os.IsAlone(fd);

    public Errno SealSize(int fd, bool final) => Os.SealSize(fd, final);

    public Errno Examine(int fd, out FileFacts facts) => Os.Examine(fd, out facts);

    public Errno Close(int fd)
    {
        lock (_guard)
        {
            if (!_open.Remove(fd) && _sockets.RemoveAll(one => one.Fd == fd) == 0)
            {
                _faults.Add($"{fd} was closed and was not open");
                return Errno.EBADF;
            }

            return Os.Close(fd);
        }
    }

    private static string Link(int fd)
    {
        try
        {
            return new FileInfo(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{fd}")).LinkTarget ?? "gone";
        }
        catch (IOException)
        {
            return "gone";
        }
    }

    private Errno Note(Errno error, int fd)
    {
        if (error != Errno.None)
        {
            return error;
        }

        lock (_guard)
        {
            string link = Link(fd);
            if (link.StartsWith("socket:", StringComparison.Ordinal))
            {
                _sockets.Add((fd, link));
            }
            else if (!_open.TryAdd(fd, link))
            {
                _faults.Add($"{fd} was closed behind this account's back");
            }
        }

        return error;
    }

    private Errno Use(int fd, Func<int, Errno> call, string name)
    {
        lock (_guard)
        {
            if (!_open.ContainsKey(fd) && !_sockets.Exists(one => one.Fd == fd))
            {
                _faults.Add($"{name} of {fd}, which is not open");
                return Errno.EBADF;
            }

            return call(fd);
        }
    }
}
