using System;
using System.Collections.Generic;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>Descriptors and mappings that exist in these books alone: what comes over the one socket is what the script says, in pieces of its choice,
/// with files of its choice. Whoever gets a file must close it, once; whoever maps one must unmap it, and may not map beyond its end.</summary>
internal sealed class ScriptedDescriptors : NoOperatingSystem, IDescriptors
{
    private const int FirstNumber = 1 << 20; // no number of a file of this process
    private const int PollsMax = 20_000;

    private readonly Dictionary<int, FileKind> _open = [];
    private readonly Dictionary<nint, (nuint Bytes, int Times)> _mapped = [];
    private readonly HashSet<int> _signalled = [];
    private readonly List<byte> _pending = [];
    private readonly List<int> _files = [];
    private readonly List<int> _real = [];
    private readonly FuzzMemory.Part _memory;
    private int _next = FirstNumber;
    private int _polls;

    /// <summary>Books over one file of guest memory.</summary>
    public ScriptedDescriptors(FuzzMemory.Part memory) => _memory = memory;

    /// <summary>What a file is.</summary>
    public enum FileKind
    {
        /// <summary>An event.</summary>
        Event,

        /// <summary>Guest memory, sealed.</summary>
        Memory,

        /// <summary>Memory that can shrink and cannot be sealed.</summary>
        Unsealed,

        /// <summary>Neither: its size is nothing, and it is no event.</summary>
        Other,
    }

    /// <summary>Says the next thing; false: the other side is gone.</summary>
    public Func<bool> Speak { get; set; } = static () => false;

    /// <summary>Hears what was sent.</summary>
    public Func<byte[], Errno> Hear { get; set; } = static _ => Errno.None;

    /// <summary>Bytes that come in one piece, at most.</summary>
    public int Piece { get; set; } = int.MaxValue;

    /// <summary>Called for each wait.</summary>
    public Action? Waits { get; set; }

    /// <summary>Begins anew.</summary>
    public void Begin()
    {
        _open.Clear();
        _mapped.Clear();
        _signalled.Clear();
        _pending.Clear();
        _files.Clear();
        _polls = 0;
        _next = FirstNumber;
        _real.ForEach(static file => LinuxDescriptors.Instance.Close(file));
        _real.Clear();
    }

    /// <summary>Nothing is left open or mapped, but for what was never taken from the socket.</summary>
    public void LooksClosed()
    {
        _files.ForEach(file => _open.Remove(file));
        FuzzFinding.Require(_open.Count == 0, $"{_open.Count} files were not closed");
        FuzzFinding.Require(_mapped.Count == 0, $"{_mapped.Count} mappings are left");
    }

    /// <summary>Puts bytes on the socket, with files.</summary>
    public void Put(ReadOnlySpan<byte> bytes, ReadOnlySpan<FileKind> files)
    {
        _pending.AddRange(bytes);
        foreach (FileKind kind in files)
        {
            _files.Add(Open(kind));
        }
    }

    /// <summary>A real socket that goes with what is put next: the class library would look through any other. Its taker closes it.</summary>
    public void PutSocket()
    {
        if (LinuxDescriptors.Instance.CreateSocketPair(out int ours, out int theirs) == Errno.None)
        {
            _real.Add(ours);
            _files.Add(theirs);
        }
    }

    /// <summary>Signals one of the events that are open.</summary>
    public void Kick(int which)
    {
        foreach ((int file, FileKind kind) in _open)
        {
            if (kind == FileKind.Event && which-- % 4 == 0)
            {
                _signalled.Add(file);
            }
        }
    }

    public Errno CreateEvent(out int fd)
    {
        fd = Open(FileKind.Event);
        return Errno.None;
    }

    public Errno CreateSocketPair(out int first, out int second) => throw new FuzzFinding("a pair of sockets is made");

    public Errno Signal(int fd)
    {
        FuzzFinding.Require(_open.ContainsKey(fd), $"{fd} is signalled and is not open");
        return Errno.None;
    }

    public Errno Drain(int fd)
    {
        FuzzFinding.Require(_open.ContainsKey(fd), $"{fd} is drained and is not open");
        _signalled.Remove(fd);
        return Errno.None;
    }

    public Errno AdoptEvent(int fd)
    {
        // A socket is none either.
        return _open.TryGetValue(fd, out FileKind kind) && kind == FileKind.Event ? Errno.None : Errno.EINVAL;
    }

    public Errno Poll(Span<PollEntry> entries, int milliseconds, out int ready)
    {
        FuzzFinding.Require(_polls++ < PollsMax, "it waits again and again");
        Waits?.Invoke();
        ready = 0;
        foreach (ref PollEntry entry in entries)
        {
            bool isSocket = entry.Fd is >= 0 and < FirstNumber;
            if (entry.Fd < 0)
            {
                entry.Ready = PollEvents.None; // as poll does
                continue;
            }

            FuzzFinding.Require(isSocket || _open.ContainsKey(entry.Fd), $"{entry.Fd} is waited for and is not open");
            entry.Ready = isSocket || _signalled.Contains(entry.Fd) ? PollEvents.Readable : PollEvents.None;
            ready += entry.Ready == PollEvents.None ? 0 : 1;
        }

        return Errno.None;
    }

    public Errno Send(int socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> files, out int sent)
    {
        sent = bytes.Length;
        return _real.Contains(socket) || bytes.IsEmpty ? Errno.None : Hear(bytes.ToArray());
    }

    public Errno Receive(int socket, Span<byte> bytes, Span<int> files, out int received, out int count)
    {
        (received, count) = (0, 0);
        if (Piece == 0)
        {
            Piece = 7;
            return Errno.EAGAIN;
        }

        if (_pending.Count == 0 && !Speak())
        {
            return Errno.None;
        }

        if (_pending.Count == 0)
        {
            return Errno.EAGAIN;
        }

        received = Math.Min(Math.Min(bytes.Length, _pending.Count), Piece);
        _pending.GetRange(0, received).CopyTo(bytes);
        _pending.RemoveRange(0, received);
        while (_files.Count > 0 && count < files.Length)
        {
            files[count++] = _files[0];
            _files.RemoveAt(0);
        }

        return Errno.None;
    }

    public Errno Reopen(int fd, out int another) => throw new FuzzFinding("a file is opened again");

    public Errno IsAlone(int fd) => throw new FuzzFinding("a file's other owners are asked for");

    public Errno SealSize(int fd, bool final) => KindOf(fd) is FileKind.Memory ? Errno.None : Errno.EPERM;

    public Errno Examine(int fd, out FileFacts facts)
    {
        facts = new FileFacts(KindOf(fd) is FileKind.Memory or FileKind.Unsealed ? _memory.Bytes : 0, 0, (ulong)fd);
        return Errno.None;
    }

    public override Errno Close(int fd)
    {
        if (fd < FirstNumber)
        {
            return LinuxDescriptors.Instance.Close(fd);
        }

        FuzzFinding.Require(_open.Remove(fd), $"{fd} is closed and is not open");
        _signalled.Remove(fd);
        return Errno.None;
    }

    public override Errno MapShared(int fd, ulong offset, nuint bytes, MemoryProtection protection, nint at, out nint address)
    {
        FuzzFinding.Require(KindOf(fd) == FileKind.Memory, "a file that can shrink is mapped");
        FuzzFinding.Require(
            offset < _memory.Bytes && bytes <= _memory.Bytes - offset && bytes != 0,
            $"0x{bytes:x} bytes at 0x{offset:x} are mapped beyond the file's end");
        address = _memory.Product + (nint)offset;
        (nuint mapped, int times) = _mapped.GetValueOrDefault(address);
        _mapped[address] = (times == 0 ? bytes : mapped, times + 1);
        return Errno.None;
    }

    public override Errno Unmap(nint address, nuint bytes)
    {
        FuzzFinding.Require(_mapped.TryGetValue(address, out (nuint Bytes, int Times) one), $"0x{address:x} is unmapped and is not mapped");
        if (one.Times == 1)
        {
            FuzzFinding.Require(one.Bytes == bytes, $"0x{bytes:x} bytes of 0x{one.Bytes:x} are unmapped");
            _mapped.Remove(address);
        }
        else
        {
            // Of several at one address the books know the first's length.
            _mapped[address] = (bytes == one.Bytes ? bytes : one.Bytes, one.Times - 1);
        }

        return Errno.None;
    }

    public override Errno PunchHole(int fd, ulong offset, nuint bytes)
    {
        bool isInside = KindOf(fd) == FileKind.Memory && offset < _memory.Bytes && bytes <= _memory.Bytes - offset;
        FuzzFinding.Require(isInside && (offset | bytes) % 4096 == 0, $"a hole of 0x{bytes:x} bytes at 0x{offset:x}");
        return Errno.None;
    }

    private FileKind KindOf(int fd)
    {
        if (fd < FirstNumber)
        {
            return FileKind.Other;
        }

        FuzzFinding.Require(_open.TryGetValue(fd, out FileKind kind), $"{fd} is used and is not open");
        return kind;
    }

    private int Open(FileKind kind)
    {
        _open.Add(_next, kind);
        return _next++;
    }
}
