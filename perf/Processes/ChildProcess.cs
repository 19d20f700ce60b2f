using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>One line from a child: words, and when it arrived on the parent's clock.</summary>
internal readonly record struct Message(double Seconds, string[] Words)
{
    public string Subject => Words[0];

    public long Whole(int index) => long.Parse(Words[index], CultureInfo.InvariantCulture);

    public double Number(int index) => double.Parse(Words[index], CultureInfo.InvariantCulture);
}

/// <summary>The same program in a process of its own, so that what the kernel says of it is said of one contestant alone. They
/// talk in lines: the child tells what it has reached, the parent gives the word to go on. See <see cref="ChildSide"/>.</summary>
internal sealed class ChildProcess : IDisposable
{
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);
    private static readonly Stopwatch Watch = Stopwatch.StartNew();

    private readonly Process _process;
    private readonly string _name;
    private readonly ConcurrentQueue<Message> _messages = new();
    private volatile bool _outputEnded;

    private ChildProcess(string name, Process process)
    {
        _name = name;
        _process = process;
        _process.OutputDataReceived += (_, e) => Receive(e.Data);
        _process.BeginOutputReadLine();
    }

    /// <summary>Seconds on the parent's clock.</summary>
    public static double Now => Watch.Elapsed.TotalSeconds;

    /// <summary>"own": the child is alone in a memory cgroup; "shared": it could not have one of its own, so no charge is its own;
    /// "none": no memory cgroup is visible.</summary>
    public string ChargeSource { get; private set; } = "none";

    /// <summary>The child's own group; null where it has none, or has not told yet.</summary>
    public MemoryCgroup? Group { get; private set; }

    /// <param name="name">For messages.</param>
    /// <param name="arguments">A command of <see cref="Program"/> and its options.</param>
    public static ChildProcess Start(string name, params string[] arguments) => Start(name, arguments, environment: null);

    /// <param name="name">For messages.</param>
    /// <param name="arguments">A command of <see cref="Program"/> and its options.</param>
    /// <param name="environment">Variables set for the child; an empty value removes the variable.</param>
    public static ChildProcess Start(string name, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        string program = typeof(ChildProcess).Assembly.Location;
        string host = Environment.ProcessPath ?? "dotnet";
        bool isItself = Path.GetFileName(host) == Path.GetFileNameWithoutExtension(program);
        if (!isItself && Path.GetFileName(host) != "dotnet")
        {
            // Hosted by another program, a test for one.
            host = Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet";
        }

        ProcessStartInfo start = Describe(host);
        if (!isItself)
        {
            start.ArgumentList.Add(program);
        }

        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach ((string variable, string value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[variable] = value.Length == 0 ? null : value;
        }

        return Launch(name, start);
    }

    /// <summary>Another program that speaks in the same way.</summary>
    public static ChildProcess StartProgram(string name, string path) => Launch(name, Describe(path));

    /// <summary>The next line, if there is one.</summary>
    public bool TryRead(out Message message)
    {
        while (_messages.TryDequeue(out message))
        {
            if (message.Subject != "group")
            {
                return true;
            }

            ChargeSource = message.Words[1];
            Group = ChargeSource == "own" ? MemoryCgroup.At((int)message.Whole(2), message.Words[3]) : null;
        }

        return _outputEnded && _messages.IsEmpty ? throw Ended() : false;
    }

    /// <summary>Waits for a line of this subject; lines of other subjects on the way go to <paramref name="others"/>.</summary>
    public Message WaitFor(string subject, Action<Message>? others = null)
    {
        while (true)
        {
            if (!TryRead(out Message message))
            {
                Thread.Sleep(5); // lines come by the reader's callback; a few milliseconds late is soon enough for who waits for a child
            }
            else if (message.Subject == subject)
            {
                return message;
            }
            else
            {
                others?.Invoke(message);
            }
        }
    }

    /// <summary>Gives the child a word.</summary>
    public void Send(string word)
    {
        try
        {
            _process.StandardInput.WriteLine(word);
            _process.StandardInput.Flush();
        }
        catch (IOException)
        {
            throw Ended();
        }
    }

    /// <summary>RSS from statm (cheap, for curves) and the charge.</summary>
    public Usage Sample() => Read(Smaps.StatmResidentBytes);

    /// <summary>RSS from smaps_rollup (exact, walks the page tables) and the charge.</summary>
    public Usage Exact() => Read(Smaps.RollupResidentBytes);

    /// <summary>Ends it at once, as the kernel does to who uses too much (SIGKILL).</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(ExitPatience))
        {
            _process.Kill();
            _process.WaitForExit();
        }

        // The child removes its own group on a regular end; here the rest, once the kernel has let go of the dead process.
        for (int i = 0; Group is not null && Directory.Exists(Group.Folder) && !Group.TryRemove() && i < 50; i++)
        {
            Thread.Sleep(20);
        }

        _process.Dispose();
    }

    private static ProcessStartInfo Describe(string path) => new(path)
    {
        UseShellExecute = false,
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
    };

    private static ChildProcess Launch(string name, ProcessStartInfo start) =>
        new(name, Process.Start(start) ?? throw new MeasurementException($"{name}: the process did not start"));

    private Usage Read(Func<int, long> resident)
    {
        try
        {
            return new Usage(resident(_process.Id), (long?)Group?.ChargeBytes);
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            throw Ended();
        }
    }

    private void Receive(string? line)
    {
        if (line is null)
        {
            _outputEnded = true;
        }
        else if (line.Length > 0)
        {
            _messages.Enqueue(new Message(Now, line.Split('\t')));
        }
    }

    private MeasurementException Ended()
    {
        _process.WaitForExit(ExitPatience);
        string code = _process.HasExited ? _process.ExitCode.ToString(CultureInfo.InvariantCulture) : "unknown";
        return new MeasurementException($"{_name}: its process ended before its measurement did, exit code {code}");
    }
}
