using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Tests.Packages;

namespace LowLevel.Tests.Peers;

/// <summary>A program that we did not write, in a process of its own: its lines are kept as they come, and it ends with this object, and with this
/// process however that ends. Whatever is waited for fails with all that it has said when it ends or time is up. One thread waits at a time.</summary>
internal sealed class PeerProcess : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Glance = TimeSpan.FromMilliseconds(20);

    private readonly string _name;
    private readonly Process _process;
    private readonly Thread[] _readers;
    private readonly object _guard = new();
    private readonly List<string> _lines = [];
    private int _read;
    private int _openStreams = 2;

    /// <summary>Starts it.</summary>
    public PeerProcess(string program, params IEnumerable<string> arguments)
    {
        _name = Path.GetFileName(program);
        _process = Parent.Start(program, arguments);
        _readers = [Reader(_process.StandardOutput), Reader(_process.StandardError)];
    }

    /// <summary>Its number.</summary>
    public int Id => _process.Id;

    /// <summary>Whether it has ended.</summary>
    public bool HasExited => _process.HasExited;

    /// <summary>All that it has said so far, output and errors.</summary>
    public string Output
    {
        get
        {
            lock (_guard)
            {
                return string.Join('\n', _lines);
            }
        }
    }

    /// <summary>The next line, behind the last one that was waited for, that has this part.</summary>
    public string WaitForLine(string part, TimeSpan? patience = null)
    {
        Deadline deadline = new(TimeProvider.System, patience ?? Patience);
        lock (_guard)
        {
            while (true)
            {
                while (_read < _lines.Count)
                {
                    string line = _lines[_read++];
                    if (line.Contains(part, StringComparison.Ordinal))
                    {
                        return line;
                    }
                }

                if (_openStreams == 0 || deadline.Left == TimeSpan.Zero)
                {
                    throw Failure($"a line with '{part}'");
                }

                Monitor.Wait(_guard, deadline.Left);
            }
        }
    }

    /// <summary>Its exit code, when it has ended by itself.</summary>
    public int WaitForExit(TimeSpan? patience = null)
    {
        if (!_process.WaitForExit(patience ?? Patience))
        {
            throw Failure("its end");
        }

        Array.ForEach(_readers, static reader => reader.Join());
        return _process.ExitCode;
    }

    /// <summary>Types a line into its standard input: where that is a guest's console, into the guest.</summary>
    public void WriteLine(string line)
    {
        _process.StandardInput.Write(line + "\n");
        _process.StandardInput.Flush();
    }

    /// <summary>The connection that it makes to a socket that this process listens on.</summary>
    public Socket Accept(Socket listener, TimeSpan? patience = null)
    {
        Deadline deadline = new(TimeProvider.System, patience ?? Patience);
        while (!listener.Poll(Glance, SelectMode.SelectRead))
        {
            if (HasExited || deadline.Left == TimeSpan.Zero)
            {
                throw Failure($"its connection to {listener.LocalEndPoint}");
            }
        }

        return listener.Accept();
    }

    /// <summary>A connection, which does not block, to a socket that it listens on, as soon as it does.</summary>
    public Socket Connect(string path, TimeSpan? patience = null)
    {
        Socket? socket = null;
        SpinWait.SpinUntil(() => HasExited || (socket = UnixSockets.TryConnect(path, out _)) is not null, patience ?? Patience);
        return socket ?? throw Failure($"somebody listening on {path}");
    }

    /// <summary>Ends it at once, as a crash would (SIGKILL).</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Ends it.</summary>
    public void Dispose()
    {
        Kill();
        Array.ForEach(_readers, static reader => reader.Join());
        _process.Dispose();
    }

    private InvalidOperationException Failure(string what) =>
        new($"{_name} {(HasExited ? $"ended with code {_process.ExitCode}" : "is running")}; waited for {what}. It said:\n{Output}");

    private Thread Reader(StreamReader stream)
    {
        Thread thread = new(() => Read(stream)) { IsBackground = true, Name = _name + " output" };
        thread.Start();
        return thread;
    }

    private void Read(StreamReader stream)
    {
        string? line = "";
        while (line is not null)
        {
            line = stream.ReadLine();
            lock (_guard)
            {
                if (line is null)
                {
                    _openStreams--;
                }
                else
                {
                    _lines.Add(line);
                }

                Monitor.PulseAll(_guard);
            }
        }
    }

    /// <summary>Starts every child from one thread that never ends: with PR_SET_PDEATHSIG the kernel kills a child when the thread that started it
    /// ends, and the thread of a test may.</summary>
    private static class Parent
    {
        private static readonly BlockingCollection<(ProcessStartInfo Start, TaskCompletionSource<Process> Started)> s_orders = StartThread();
        private static readonly bool s_canBind = Dotnet.IsOnPath(["setpriv"]);

        public static Process Start(string program, IEnumerable<string> arguments)
        {
            IEnumerable<string> all = s_canBind ? ["--pdeathsig", "KILL", program, .. arguments] : arguments;
            ProcessStartInfo start = new(s_canBind ? "setpriv" : program, all)
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            TaskCompletionSource<Process> started = new();
            s_orders.Add((start, started));
            return started.Task.GetAwaiter().GetResult();
        }

        private static BlockingCollection<(ProcessStartInfo, TaskCompletionSource<Process>)> StartThread()
        {
            BlockingCollection<(ProcessStartInfo, TaskCompletionSource<Process>)> orders = [];
            new Thread(() => Serve(orders)) { IsBackground = true, Name = "parent of peers" }.Start();
            return orders;
        }

        private static void Serve(BlockingCollection<(ProcessStartInfo, TaskCompletionSource<Process>)> orders)
        {
            foreach ((ProcessStartInfo start, TaskCompletionSource<Process> started) in orders.GetConsumingEnumerable())
            {
                try
                {
                    started.SetResult(Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} did not start"));
                }
                catch (Exception e)
                {
                    started.SetException(e);
                }
            }
        }
    }
}
