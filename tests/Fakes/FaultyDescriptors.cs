using System;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Tests.Fakes;

/// <summary>The calls of <see cref="IDescriptors"/> that may fail.</summary>
internal enum DescriptorCall
{
    CreateEvent,
    CreateSocketPair,
    Signal,
    Drain,
    AdoptEvent,
    Poll,
    Send,
    Receive,
    Reopen,
    IsAlone,
    SealSize,
    Examine,
}

/// <summary>The operating system's descriptors, of which a chosen call fails, once or from then on, without being passed on. Close never does: what it
/// says changes nothing. Thread-safe.</summary>
internal sealed class FaultyDescriptors : IDescriptors
{
    private readonly Lock _guard = new();
    private DescriptorCall _call;
    private Errno _errno;
    private int _skip;
    private int _left;

    /// <summary>How often a call was made to fail.</summary>
    public int Injected { get; private set; }

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    /// <summary>The n-th use from now on fails (1: the next), and so many after it.</summary>
    public void Fail(DescriptorCall call, Errno errno, int nth, int times)
    {
        lock (_guard)
        {
            (_call, _errno, _skip, _left) = (call, errno, nth - 1, times);
        }
    }

    /// <summary>No faults from now on.</summary>
    public void Heal() => Fail(default, Errno.None, 1, 0);

    public Errno CreateEvent(out int fd)
    {
        fd = -1;
        return Fails(DescriptorCall.CreateEvent, out Errno errno) ? errno : Os.CreateEvent(out fd);
    }

    public Errno CreateSocketPair(out int first, out int second)
    {
        (first, second) = (-1, -1);
        return Fails(DescriptorCall.CreateSocketPair, out Errno errno) ? errno : Os.CreateSocketPair(out first, out second);
    }

    public Errno Signal(int fd) => Fails(DescriptorCall.Signal, out Errno errno) ? errno : Os.Signal(fd);

    public Errno Drain(int fd) => Fails(DescriptorCall.Drain, out Errno errno) ? errno : Os.Drain(fd);

    public Errno AdoptEvent(int fd) => Fails(DescriptorCall.AdoptEvent, out Errno errno) ? errno : Os.AdoptEvent(fd);

    public Errno Poll(Span<PollEntry> entries, int milliseconds, out int ready)
    {
        ready = 0;
        return Fails(DescriptorCall.Poll, out Errno errno) ? errno : Os.Poll(entries, milliseconds, out ready);
    }

    public Errno Send(int socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> files, out int sent)
    {
        sent = 0;
        return Fails(DescriptorCall.Send, out Errno errno) ? errno : Os.Send(socket, bytes, files, out sent);
    }

    public Errno Receive(int socket, Span<byte> bytes, Span<int> files, out int received, out int count)
    {
        (received, count) = (0, 0);
        return Fails(DescriptorCall.Receive, out Errno errno) ? errno : Os.Receive(socket, bytes, files, out received, out count);
    }

    public Errno Reopen(int fd, out int another)
    {
        another = -1;
        return Fails(DescriptorCall.Reopen, out Errno errno) ? errno : Os.Reopen(fd, out another);
    }

    public Errno IsAlone(int fd) => Fails(DescriptorCall.IsAlone, out Errno errno) ? errno : Os.IsAlone(fd);

    public Errno SealSize(int fd, bool final) => Fails(DescriptorCall.SealSize, out Errno errno) ? errno : Os.SealSize(fd, final);

    public Errno Examine(int fd, out FileFacts facts)
    {
        facts = default;
        return Fails(DescriptorCall.Examine, out Errno errno) ? errno : Os.Examine(fd, out facts);
    }

    public Errno Close(int fd) => Os.Close(fd);

    private bool Fails(DescriptorCall call, out Errno errno)
    {
        lock (_guard)
        {
            errno = _errno;
            if (call != _call || _left == 0 || _skip-- > 0)
            {
                return false;
            }

            _left -= _left == int.MaxValue ? 0 : 1;
            _skip = 0;
            Injected++;
            return true;
        }
    }
}
