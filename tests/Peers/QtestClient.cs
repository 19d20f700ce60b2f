using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Net.Sockets;
using System.Text;
using System.Threading;

namespace LowLevel.Tests.Peers;

/// <summary>The text protocol by which QEMU is told to do what a processor would (docs/devel/testing/qtest.rst): a command, a line of answer;
/// between them, at any time, lines about interrupts. Any thread, one command at a time.</summary>
internal sealed class QtestClient : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly Socket _socket;
    private readonly Thread _reader;
    private readonly Lock _command = new();
    private readonly object _guard = new();
    private readonly Queue<string> _answers = new();
    private bool _isClosed;

    /// <summary>Over the connection that QEMU made (-qtest unix:PATH), which is this object's from here on.</summary>
    public QtestClient(Socket socket)
    {
        _socket = socket;
        _reader = new Thread(Read) { IsBackground = true, Name = "qtest" };
        _reader.Start();
    }

    /// <summary>An interrupt line went up; on a thread that no command may be sent from.</summary>
    public Action? InterruptRaised { get; set; }

    /// <summary>Tells of the interrupt lines into this device from now on, instead of raising them.</summary>
    public void InterceptInterrupts(string device) => Ask($"irq_intercept_in {device}");

    /// <summary>Reads a 32-bit word at a physical address.</summary>
    public uint Read32(ulong address)
    {
        // Sixteen digits, whatever was read.
        string answer = Ask($"readl 0x{address:x}");
        return (uint)ulong.Parse(answer.AsSpan("0x".Length), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    /// <summary>Writes one.</summary>
    public void Write32(ulong address, uint value) => Ask($"writel 0x{address:x} 0x{value:x}");

    public void Dispose()
    {
        _socket.Dispose();
        _reader.Join();
    }

    private string Ask(string command)
    {
        lock (_command)
        {
            _socket.Send(Encoding.ASCII.GetBytes(command + "\n"));
            lock (_guard)
            {
                string? answer;
                while (!_answers.TryDequeue(out answer))
                {
                    if (_isClosed || !Monitor.Wait(_guard, Patience))
                    {
                        throw new IOException($"QEMU has {(_isClosed ? "closed its" : "not answered on its")} qtest socket; asked: {command}");
                    }
                }

                return answer.StartsWith("OK", StringComparison.Ordinal) ? answer[2..].Trim() : throw new InvalidOperationException($"{command}: {answer}");
            }
        }
    }

    private void Read()
    {
        try
        {
            using StreamReader lines = new(new NetworkStream(_socket), Encoding.ASCII);
            for (string? line; (line = lines.ReadLine()) is not null;)
            {
                Take(line);
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // This side has closed it, or QEMU is gone.
        }

        lock (_guard)
        {
            _isClosed = true;
            Monitor.PulseAll(_guard);
        }
    }

    private void Take(string line)
    {
        if (line.StartsWith("IRQ ", StringComparison.Ordinal))
        {
            if (line.StartsWith("IRQ raise", StringComparison.Ordinal))
            {
                InterruptRaised?.Invoke();
            }

            return;
        }

        lock (_guard)
        {
            _answers.Enqueue(line);
            Monitor.PulseAll(_guard);
        }
    }
}
